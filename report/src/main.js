// The page: reads the document, puts the panels together.
import { h, svg } from "./dom.js";
import { count } from "./format.js";
import { detail } from "./detail.js";
import { navigator } from "./navigator.js";
import { Page } from "./page.js";
import { panels } from "./panels/index.js";
import { badge, nameOf } from "./panels/verdict.js";
import { startTheme } from "./theme.js";

function shown(page, panel) {
  if (panel.has) return Boolean(panel.has(page));
  return page.doc[panel.part] !== undefined && page.doc[panel.part] !== null;
}

/** Parts that the document names and has no numbers for: said once, not as empty panels. */
function missing(page) {
  const names = panels.filter((p) => p.part && !p.quiet && p.part in page.doc && !shown(page, p)).map((p) => p.title);
  if (!names.length) return null;
  return h(
    "section",
    { id: "missing", class: "panel" },
    h("h2", {}, "Not measured in this run"),
    h(
      "p",
      {},
      names.map((n, i) => [i ? ", " : "", h("span", { class: "absent" }, n)]),
      ". The document has null for them: the network has no such thing, or the time given was not enough.",
    ),
  );
}

function section(page, panel) {
  const body = [].concat(panel.draw(page)).filter(Boolean);
  const lead = panel.lead ? panel.lead(page) : null;
  if (lead) lead.classList.add("lead");
  return h(
    "section",
    { id: panel.id, class: `panel${panel.bare ? " bare" : ""}`, "aria-labelledby": `${panel.id}-title` },
    h("h2", { id: `${panel.id}-title`, class: panel.bare ? "hidden" : "" }, panel.title),
    lead,
    body,
  );
}

function mark() {
  return svg(
    "svg",
    { viewBox: "0 0 32 20", width: 32, height: 20, class: "mark", "aria-hidden": "true" },
    svg("path", { d: "M4 10h24", stroke: "currentColor", "stroke-width": 1.6 }),
    svg("circle", { cx: 5, cy: 10, r: 2, class: "m1" }),
    svg("circle", { cx: 15, cy: 10, r: 3.2, class: "m2" }),
    svg("circle", { cx: 26, cy: 10, r: 4.6, class: "m3" }),
  );
}

function start() {
  const root = document.getElementById("page");
  const doc = JSON.parse(document.getElementById("document").textContent);
  const page = new Page(doc);
  const name = nameOf(doc, "");
  document.title = `${doc.verdict.status}${name ? `: ${name}` : ""} \u2013 chainrule diagnose`;
  const list = panels.filter((p) => shown(page, p));
  const theme = startTheme(page);
  const nav = h(
    "nav",
    { class: "contents", "aria-label": "Panels" },
    h(
      "ul",
      {},
      list.map((p) => h("li", {}, h("a", { href: `#${p.id}` }, p.nav || p.title))),
    ),
  );
  const main = h("main", { id: "main", tabindex: -1 });
  root.append(
    h(
      "header",
      { class: "top" },
      h("div", { class: "brand" }, mark(), h("span", {}, "chainrule ", h("b", {}, "diagnose"))),
      h(
        "div",
        { class: "model" },
        name ? h("h1", {}, name) : h("h1", {}, "Diagnosis"),
        h("span", { class: "quiet" }, `${count(page.n)} layers`),
      ),
      theme,
    ),
    h("div", { class: "columns" }, nav, main),
    detail(page),
  );
  for (const panel of list) {
    main.append(section(page, panel));
    if (panel.id === "verdict") {
      const strip = navigator(page);
      if (strip) main.append(strip);
    }
  }
  const none = missing(page);
  if (none) main.append(none);
  main.append(
    h(
      "footer",
      { class: "foot quiet" },
      "Made by chainrule ",
      doc.version || "",
      ". It holds norms and statistics, no samples and no weights, and asks for nothing from a network.",
    ),
  );
  follow(nav, main);

  // On paper there is no scrolling: everything is drawn first, for the width of the paper, light.
  const paper = matchMedia("print");
  const settle = () => page.charts.forEach((c) => c.settle());
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.paper = "";
    page.whole();
    page.charts.forEach((c) => c.draw());
    document.querySelectorAll("#evidence").forEach((d) => (d.open = true));
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.paper;
    page.charts.forEach((c) => c.draw());
  });
  paper.addEventListener("change", () => page.charts.forEach((c) => c.resize()));
  page.addEventListener("theme", () => page.charts.forEach((c) => c.refresh()));
  // For whoever reads the page by a script: the document, the charts, and a way to have all of them drawn.
  window.chainrule = { document: doc, page, charts: page.charts, settle };
  document.documentElement.dataset.ready = "";
}

/** Marks the panel in sight among the contents. */
function follow(nav, main) {
  const links = new Map([...nav.querySelectorAll("a")].map((a) => [a.hash.slice(1), a]));
  const inSight = new Set();
  const watch = new IntersectionObserver(
    (entries) => {
      for (const e of entries) inSight[e.isIntersecting ? "add" : "delete"](e.target.id);
      const first = [...links.keys()].find((id) => inSight.has(id));
      for (const [id, a] of links) {
        if (id === first) a.setAttribute("aria-current", "true");
        else a.removeAttribute("aria-current");
      }
    },
    { rootMargin: "-15% 0px -55% 0px" },
  );
  main.querySelectorAll("section").forEach((s) => watch.observe(s));
}

try {
  start();
} catch (e) {
  const p = document.createElement("p");
  p.className = "noscript";
  p.textContent = `This report cannot be shown: ${e.message}`;
  document.getElementById("page").append(p);
  throw e;
}
