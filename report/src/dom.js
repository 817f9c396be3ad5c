// Elements. Text of the document goes in as text, never as HTML: names in a model are whatever their author liked.
import { typeset } from "./typeset.js";

export function h(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (v === undefined || v === null || v === false) continue;
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (k === "style") e.style.cssText = v;
    else e.setAttribute(k, v === true ? "" : v);
  }
  e.append(...children.flat(Infinity).filter((c) => c !== undefined && c !== null && c !== false));
  return e;
}

const SVG = "http://www.w3.org/2000/svg";
export function svg(tag, attributes, ...children) {
  const e = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(attributes || {})) if (v !== undefined && v !== null) e.setAttribute(k, v);
  e.append(...children.flat(Infinity).filter(Boolean));
  return e;
}

/** A typeset formula of formulas.js. */
export function formula(name) {
  const e = h("span", { class: "formula" });
  e.innerHTML = typeset[name];
  return e;
}

export function copyable(text) {
  const b = h("button", { class: "copy", type: "button", title: "Copy the name", "aria-label": `Copy ${text}` });
  b.append(
    svg(
      "svg",
      { viewBox: "0 0 16 16", width: 13, height: 13, "aria-hidden": "true" },
      svg("path", {
        d: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
        fill: "none",
        stroke: "currentColor",
        "stroke-width": 1.3,
      }),
    ),
  );
  b.addEventListener("click", async (e) => {
    e.stopPropagation();
    b.dataset.done = (await copyText(text)) ? "copied" : "failed";
    setTimeout(() => delete b.dataset.done, 1200);
  });
  return b;
}

// The clipboard's interface is not there for a file opened from a disk in every browser.
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { style: "position:fixed;opacity:0" });
    area.value = text;
    document.body.append(area);
    area.select();
    const ok = document.execCommand("copy");
    area.remove();
    return ok;
  }
}
