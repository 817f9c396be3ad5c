// The graph, drawn like the history of a repository: a row for each operator, in an order of computation, edges in
// lanes beside them, coloured by the gradient that comes back along them. Only the rows in sight exist; the strip at
// the left is all of it.
import { h, svg } from "../dom.js";
import { is, num, plural, tail, ten } from "../format.js";
import { colours } from "../chart.js";
import { mix } from "./history.js";
import { table } from "../table.js";

const ROW = 26;
const LANE = 18;
const HEIGHT = 520;
const MAX_LANES = 14;

/** Lanes: an operator takes over the lane of its first reader's edge, edges that go further get a free one. */
export function lanes(nodes, edges) {
  const out = nodes.map(() => []);
  const into = nodes.map(() => []);
  edges.forEach((e, k) => {
    out[e.from].push(k);
    into[e.to].push(k);
  });
  const laneOf = new Array(edges.length);
  const at = new Array(nodes.length);
  const free = []; // by lane: is it free
  const take = () => {
    const k = free.indexOf(true);
    if (k >= 0) {
      free[k] = false;
      return k;
    }
    return free.push(false) - 1;
  };
  nodes.forEach((_, i) => {
    const mine = into[i].map((k) => laneOf[k]).sort((a, b) => a - b);
    at[i] = mine.length ? mine[0] : take();
    for (const l of new Set(mine)) if (l !== at[i]) free[l] = true;
    const next = out[i].slice().sort((a, b) => edges[a].to - edges[b].to);
    if (!next.length) free[at[i]] = true;
    const own = new Map(); // one lane for all edges to one reader
    next.forEach((k, n) => {
      if (!own.has(edges[k].to)) own.set(edges[k].to, n === 0 ? at[i] : take());
      laneOf[k] = own.get(edges[k].to);
    });
  });
  return { at, laneOf, width: free.length };
}

const least = (list) => list.reduce((a, b) => Math.min(a, b));
const greatest = (list) => list.reduce((a, b) => Math.max(a, b));

export const graph = {
  id: "graph",
  title: "The graph, by flow",
  nav: "Graph",
  part: "graph",
  has: (page) => page.doc.graph && Array.isArray(page.doc.graph.nodes) && page.doc.graph.nodes.length > 0,
  lead: () =>
    h(
      "p",
      {},
      "Operators from the input down to the loss. An edge has the colour of the gradient " +
        "that comes back along it, beside that of the output: blue has shrunk, orange has " +
        "grown, dotted is exactly 0 or no number.",
    ),
  draw(page) {
    const { nodes, edges } = page.doc.graph;
    const { at, laneOf, width } = lanes(nodes, edges);
    const last = edges.reduce(
      (a, e) => (e.to > a.to || (e.to === a.to && e.from > a.from) ? e : a),
      edges[0] || { to: -1 },
    );
    const base = edges.length && is(last.log10_cotangent) ? last.log10_cotangent : 0;
    const rel = (e) => (is(e.log10_cotangent) ? e.log10_cotangent - base : null);
    const flows = edges.map(rel).filter(is);
    const most = Math.max(
      3,
      edges.reduce((a, e) => Math.max(a, Math.abs(rel(e) ?? 0)), 0),
    );
    const lane = width > MAX_LANES ? (LANE * MAX_LANES) / width : LANE;
    const left = 14;
    const indent = left + Math.max(1, width) * lane + 6;
    const n = nodes.length;

    // Edges by the rows that they pass, in blocks, so that a window finds its own.
    const BLOCK = 64;
    const passing = Array.from({ length: Math.ceil(n / BLOCK) }, () => []);
    edges.forEach((e, k) => {
      for (let b = Math.floor(e.from / BLOCK); b <= Math.floor(e.to / BLOCK); b++) passing[b].push(k);
    });
    const into = nodes.map(() => []);
    const out = nodes.map(() => []);
    edges.forEach((e, k) => {
      into[e.to].push(k);
      out[e.from].push(k);
    });

    const inner = h("div", { class: "rows", style: `height:${n * ROW}px` });
    const list = h(
      "div",
      {
        class: "graph-list",
        tabindex: 0,
        role: "listbox",
        "aria-label": "Operators from the input to the loss. Arrow keys move, Enter shows the layer",
        style: `height:${Math.min(HEIGHT, n * ROW + 4)}px`,
      },
      inner,
    );
    const strip = h("canvas", {
      class: "strip-map",
      width: 16,
      height: Math.min(HEIGHT, n * ROW + 4),
      "aria-hidden": "true",
      title: "all of the graph; click to go there",
    });
    const says = h(
      "p",
      { class: "note", role: "status" },
      `${plural(n, "operator")}, ${plural(edges.length, "edge")}. `,
      flows.length
        ? `Beside the output\u2019s, gradients are between ${ten(least(flows))} and ` + `${ten(greatest(flows))}.`
        : "",
    );
    let current = -1;
    let drawn = [-1, -1];

    function colour(c, e) {
      const r = rel(e);
      if (r === null) return c("muted");
      return mix(c("flow-mid"), r < 0 ? c("flow-low") : c("flow-high"), Math.min(1, Math.abs(r) / most) ** 0.7);
    }
    const x = (l) => left + l * lane;
    const y = (i) => i * ROW + ROW / 2;

    function path(e, k) {
      const [a, b, l] = [at[e.from], at[e.to], laneOf[k]];
      const [y1, y2] = [y(e.from), y(e.to)];
      let d = `M${x(a)} ${y1}`;
      const bend = ROW;
      if (l !== a) d += `C${x(a)} ${y1 + bend / 2} ${x(l)} ${y1 + bend / 2} ${x(l)} ${y1 + bend}`;
      if (l !== b) d += `V${y2 - bend}C${x(l)} ${y2 - bend / 2} ${x(b)} ${y2 - bend / 2} ${x(b)} ${y2}`;
      else d += `V${y2}`;
      return d;
    }

    function fill(force) {
      const from = Math.max(0, Math.floor(list.scrollTop / ROW) - 20);
      const to = Math.min(n, from + Math.ceil(list.clientHeight / ROW || HEIGHT / ROW) + 40);
      if (!force && Math.abs(from - drawn[0]) < 8 && drawn[1] >= Math.min(n, from + 40)) return;
      drawn = [from, to];
      const c = colours();
      const seen = new Set();
      for (let b = Math.floor(from / BLOCK); b <= Math.floor(Math.max(from, to - 1) / BLOCK); b++)
        for (const k of passing[b]) if (edges[k].to >= from && edges[k].from < to) seen.add(k);
      const lines = [...seen].map((k) => {
        const e = edges[k];
        const p = svg("path", {
          d: path(e, k),
          fill: "none",
          stroke: colour(c, e),
          "stroke-width": 3,
          "stroke-dasharray": rel(e) === null ? "2 4" : null,
          "stroke-linecap": "round",
          "data-edge": k,
          "data-flow": is(e.log10_cotangent) ? e.log10_cotangent : "null",
        });
        p.append(
          svg(
            "title",
            {},
            `${e.tensor}: |g| ${is(e.log10_cotangent) ? ten(e.log10_cotangent) : "exactly 0 or no number"}`,
          ),
        );
        return p;
      });
      const dots = [];
      const names = [];
      for (let i = from; i < to; i++) {
        dots.push(
          svg("circle", {
            cx: x(at[i]),
            cy: y(i),
            r: i === current ? 6 : 4.5,
            fill: c("card"),
            stroke: c("ink"),
            "stroke-width": 1.6,
          }),
        );
        names.push(
          h(
            "div",
            {
              class: `node${i === current ? " current" : ""}`,
              id: `node-${i}`,
              role: "option",
              "aria-selected": i === current ? "true" : "false",
              style: `top:${i * ROW}px;padding-left:${indent}px`,
              "data-node": i,
            },
            h("span", { class: "op" }, nodes[i].op),
            h("span", { class: "name", title: nodes[i].name }, tail(String(nodes[i].name ?? ""), 64)),
            is(nodes[i].layer) ? h("span", { class: "of" }, `layer ${nodes[i].layer + 1}`) : null,
          ),
        );
      }
      inner.replaceChildren(
        svg("svg", { width: indent, height: n * ROW, class: "edges", "aria-hidden": "true" }, lines, dots),
        ...names,
      );
    }

    function overview() {
      const c = colours();
      const g = strip.getContext("2d");
      const { height } = strip;
      g.clearRect(0, 0, 16, height);
      const per = Math.max(1, n / height);
      for (let p = 0; p < Math.min(height, n); p++) {
        let best = null;
        for (
          let i = Math.floor(p * per);
          i < Math.max(Math.floor(p * per) + 1, Math.floor((p + 1) * per)) && i < n;
          i++
        ) {
          for (const k of out[i])
            if (best === null || Math.abs(rel(edges[k]) ?? 0) > Math.abs(rel(edges[best]) ?? 0)) best = k;
        }
        if (best === null) continue;
        g.fillStyle = colour(c, edges[best]);
        g.fillRect(0, n < height ? (p * height) / n : p, 16, n < height ? height / n + 1 : 1);
      }
      g.strokeStyle = c("ink");
      g.lineWidth = 1.5;
      const share = height / (n * ROW);
      g.strokeRect(
        0.75,
        Math.min(height - 4, list.scrollTop * share) + 0.75,
        14.5,
        Math.max(3, Math.min(height, list.clientHeight * share) - 1.5),
      );
    }

    function go(i) {
      current = Math.max(0, Math.min(n - 1, i));
      const top = current * ROW;
      if (top < list.scrollTop) list.scrollTop = top;
      if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
      fill(true);
      list.setAttribute("aria-activedescendant", `node-${current}`);
      const node = nodes[current];
      const flows = [
        ...into[current].map((k) => ["from", nodes[edges[k].from], edges[k]]),
        ...out[current].map((k) => ["to", nodes[edges[k].to], edges[k]]),
      ].slice(0, 6);
      const one = ([word, other, e]) =>
        `${word} ${other.name}, |g| ${is(e.log10_cotangent) ? ten(e.log10_cotangent) : "exactly 0 or no number"}`;
      says.textContent = `${node.op} ${node.name}: ${flows.map(one).join("; ")}`;
    }

    list.addEventListener(
      "scroll",
      () => {
        fill(false);
        overview();
      },
      { passive: true },
    );
    list.addEventListener("keydown", (e) => {
      const to = {
        ArrowDown: current + 1,
        ArrowUp: current - 1,
        PageDown: current + 15,
        PageUp: current - 15,
        Home: 0,
        End: n - 1,
      }[e.key];
      if (to !== undefined) go(to);
      else if (e.key === "Enter" && current >= 0 && is(nodes[current].layer)) page.select(nodes[current].layer);
      else return;
      e.preventDefault();
    });
    list.addEventListener("click", (e) => {
      const row = e.target.closest(".node");
      if (!row) return;
      go(Number(row.dataset.node));
      if (is(nodes[current].layer)) page.select(nodes[current].layer);
    });
    const jump = (e) => {
      const r = strip.getBoundingClientRect();
      list.scrollTop = ((e.clientY - r.top) / r.height) * n * ROW - list.clientHeight / 2;
    };
    strip.addEventListener("pointerdown", (e) => {
      strip.setPointerCapture(e.pointerId);
      jump(e);
    });
    strip.addEventListener("pointermove", (e) => e.buttons && jump(e));
    page.addEventListener("theme", () => {
      fill(true);
      overview();
    });
    new ResizeObserver(() => {
      fill(true);
      overview();
    }).observe(list);
    const more = h("details", { class: "numbers" }, h("summary", {}, "The edges as a table"));
    more.addEventListener("toggle", () => {
      if (!more.open || more.childElementCount > 1) return;
      more.append(
        table({
          caption: "",
          filter: "Filter edges",
          rows: edges.map((e) => ({
            tensor: e.tensor,
            from: nodes[e.from].name,
            to: nodes[e.to].name,
            flow: e.log10_cotangent ?? null,
          })),
          columns: [
            { key: "tensor", name: "tensor", text: true, copy: true },
            { key: "from", name: "from", text: true },
            { key: "to", name: "to", text: true },
            { key: "flow", name: "log\u2081\u2080 |g|", show: (v) => num(v, 3, "0 or none") },
          ],
        }),
      );
    });
    return [
      h("p", { class: "legend" }, "shrunk", h("i", { class: "ramp flow" }), "grown"),
      h("div", { class: "graph" }, strip, list),
      says,
      more,
    ];
  },
};
