// The verdict: what a person reads first.
import { h, svg } from "../dom.js";
import { is, LN10, num, percent, plural, ten } from "../format.js";
import { table } from "../table.js";

const LOOK = {
  healthy: ["good", "M5 12.5l4.5 4.5L19 7.5", "Healthy"],
  vanishing: ["low", "M4 6c5 0 6 12 16 12M15 14l5 4-5 4", "Vanishing"],
  exploding: ["high", "M4 18c8 0 11-3 14-13M13 7l5-3 2 6", "Exploding"],
  dying: ["flat", "M5 5l14 14M19 5L5 19", "Dying"],
  saturated: ["warn", "M4 18c6 0 4-12 10-12h6", "Saturated"],
  shattered: ["warn", "M4 16l3-9 4 12 3-13 3 11 3-6", "Shattered"],
  "non-finite": ["high", "M12 4v10M12 18v1.5", "Not finite"],
  "untrainable-export": ["flat", "M6 11V8a6 6 0 0112 0v3M4 11h16v9H4z", "Not trainable"],
};

export function badge(status) {
  const [tone, path, name] = LOOK[status] || ["flat", "M5 12h14", status];
  return h(
    "span",
    { class: `badge ${tone}` },
    svg(
      "svg",
      { viewBox: "0 0 24 24", width: 26, height: 26, "aria-hidden": "true" },
      svg("path", {
        d: path,
        fill: "none",
        stroke: "currentColor",
        "stroke-width": 2.4,
        "stroke-linecap": "round",
        "stroke-linejoin": "round",
      }),
    ),
    name,
  );
}

// The sentence as it is, without what the badge has said, its powers of ten set as such; a copy is the sentence itself.
function sentence(v) {
  const said = `${v.status.toLowerCase()}: `;
  const starts = v.sentence.toLowerCase().startsWith(said);
  const rest = starts ? v.sentence.slice(said.length) : v.sentence;
  const parts = rest.split(/10\^(-?[0-9.]*[0-9])/);
  return [
    starts ? h("span", { class: "hidden" }, v.sentence.slice(0, said.length)) : null,
    parts.map((x, i) => (i % 2 ? ["10", h("span", { class: "hidden" }, "^"), h("sup", {}, x)] : x)),
  ];
}

function gauge(page) {
  const v = page.doc.verdict;
  const t = page.threshold;
  if (!is(v.lambda_low) && !is(v.lambda_high))
    return h("p", { class: "quiet" }, "No Lambda: there is no finite cotangent to judge.");
  const low = v.lambda_low ?? v.lambda_high;
  const high = v.lambda_high ?? v.lambda_low;
  const most = Math.max(t * 1.6, Math.abs(low), Math.abs(high)) * 1.08;
  const at = (x) => `${50 + (50 * x) / most}%`;
  return h(
    "div",
    {
      class: "gauge",
      role: "img",
      "aria-label": `Lambda runs from ${num(low)} to ${num(high)}; the thresholds are at minus and plus ${num(t)}`,
    },
    h(
      "div",
      { class: "gauge-track" },
      h("div", { class: "gauge-band", style: `left:${at(-t)};right:calc(100% - ${at(t)})` }),
      h("div", {
        class: "gauge-range",
        style: `left:${at(low)};width:max(6px, ${(50 * (high - low)) / most}%)`,
        "data-low": v.lambda_low,
        "data-high": v.lambda_high,
      }),
      h("i", { style: `left:${at(-t)}` }),
      h("i", { style: "left:50%" }),
      h("i", { style: `left:${at(t)}` }),
    ),
    h(
      "div",
      { class: "gauge-text" },
      t / most < 0.25
        ? h("span", { style: "left:50%" }, "\u00b1ln\u20091000")
        : [
            h("span", { style: `left:${at(-t)}` }, "\u2212ln\u20091000"),
            h("span", { style: "left:50%" }, "0"),
            h("span", { style: `left:${at(t)}` }, "ln\u20091000"),
          ],
    ),
    h(
      "p",
      { class: "quiet" },
      "Effect of the layers on the loss beside the output\u2019s: from ",
      h("b", {}, ten(low / LN10)),
      " to ",
      h("b", {}, ten(high / LN10)),
      ` (\u039b from ${num(low)} to ${num(high)}).`,
    ),
  );
}

function side(page, name, doc) {
  return h(
    "div",
    { class: "other" },
    h("p", { class: "eyebrow" }, name),
    badge(doc.verdict.status),
    h("p", { class: "sentence small" }, sentence(doc.verdict)),
    h("p", { class: "quiet" }, `\u039b from ${num(doc.verdict.lambda_low)} to ${num(doc.verdict.lambda_high)}`),
  );
}

/** What to call a document: its model. */
export const nameOf = (doc, otherwise) =>
  (doc.model && doc.model.file) || (typeof doc.model === "string" && doc.model) || otherwise;

/** Of a page with two documents: names that tell them apart. */
export function names(page) {
  const [a, b] = [nameOf(page.doc, "this model"), nameOf(page.doc.against, "the other model")];
  return a === b ? ["this model", "the other model"] : [a, b];
}

export const verdict = {
  id: "verdict",
  title: "Verdict",
  bare: true,
  part: "verdict",
  draw(page) {
    const { doc } = page;
    const v = doc.verdict;
    const facts = [];
    const add = (k, ...x) => facts.push(h("div", {}, h("dt", {}, k), h("dd", {}, x)));
    if (is(v.confidence)) {
      add(
        "confidence",
        h("span", { class: "meter", "aria-hidden": "true" }, h("span", { style: `width:${100 * v.confidence}%` })),
        ` ${percent(v.confidence)}`,
      );
    }
    if (doc.loss)
      add(
        "loss",
        is(doc.loss.value) ? num(doc.loss.value, 4) : "no number",
        doc.loss.kind ? h("span", { class: "quiet" }, ` ${doc.loss.kind}`) : null,
      );
    if (doc.data)
      add(
        "data",
        is(doc.data.samples) ? plural(doc.data.samples, "sample") : "",
        doc.data.source === "random" ? h("b", {}, ", random") : "",
      );
    add("layers", String(page.n));
    if (doc.weights_state) add("weights", doc.weights_state.state || "unknown");
    const others = (v.findings || [])
      .filter((f) => f.status !== v.status || f.text !== (v.findings[0] || {}).text)
      .slice(0, 8);
    const card = h(
      "div",
      { class: "verdict" },
      h(
        "div",
        { class: "verdict-main" },
        badge(v.status),
        h("p", { class: "sentence" }, sentence(v)),
        others.length
          ? h(
              "ul",
              { class: "also" },
              others.map((f) => h("li", {}, h("b", {}, `also ${f.status}: `), f.text)),
            )
          : null,
        gauge(page),
      ),
      h("dl", { class: "facts" }, facts),
    );
    const out = [card];
    if (page.doc.against) {
      out.push(
        h(
          "div",
          { class: "sides" },
          side(page, names(page)[0], doc),
          side(page, `against ${names(page)[1]}`, doc.against),
        ),
      );
    }
    if (Array.isArray(v.evidence) && v.evidence.length) {
      out.push(
        h(
          "details",
          { class: "numbers", id: "evidence" },
          h("summary", {}, `The evidence: ${plural(v.evidence.length, "measurement")} against their thresholds`),
          table({
            caption: "",
            rows: v.evidence,
            columns: [
              { key: "quantity", name: "quantity", text: true },
              { key: "value", name: "value", show: (x) => num(x, 3) },
              { key: "threshold", name: "threshold", show: (x) => num(x, 3) },
              { key: "where", name: "where", text: true, copy: true },
              { key: "text", name: "what it says", text: true },
              { key: "source", name: "source of the threshold", text: true },
            ],
          }),
        ),
      );
    }
    return out;
  },
};
