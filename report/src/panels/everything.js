// All numbers of all layers.
import { h } from "../dom.js";
import { FACTORS } from "../factors.js";
import { because, fixed, is, LN10, num, percent, ten } from "../format.js";
import { table } from "../table.js";

export const everything = {
  id: "everything",
  title: "All layers",
  nav: "Table",
  has: (page) => page.n > 0,
  lead: () =>
    h("p", {}, "Click a heading to sort, a row for its details. The exact number of the document is behind each cell."),
  draw(page) {
    const rows = page.layers.map((l, i) => ({
      i: i + 1,
      name: l.name,
      op: l.op,
      lambda: l.lambda ?? null,
      effect: is(l.lambda) ? l.lambda / LN10 : null,
      into: l.log10_cotangent_in ?? null,
      out: l.log10_cotangent_out ?? null,
      gain: l.ln_gain ?? null,
      ...Object.fromEntries(FACTORS.map((f) => [f, l.factors ? (l.factors[f] ?? null) : null])),
      square: l.slope_mean_square ?? null,
      saturated: l.saturated_fraction ?? null,
      dead: l.dead_fraction ?? null,
      mean: l.activation ? (l.activation.mean ?? null) : null,
      std: l.activation ? (l.activation.std ?? null) : null,
      why: because(l),
    }));
    const two = (v) => fixed(v, 2);
    return [
      table({
        caption: "",
        filter: "Filter by name or operator",
        onrow: (_, i) => page.select(i),
        rows,
        columns: [
          { key: "i", name: "#", show: (v) => String(v) },
          { key: "name", name: "layer", text: true, copy: true },
          { key: "op", name: "operator", text: true },
          { key: "lambda", name: "\u039b", show: two, title: "ln of the effect on the loss beside the output's" },
          {
            key: "into",
            name: "|g| in",
            show: (v, r) => ten(v, r.why.startsWith("exactly") ? "0" : "\u2013"),
            title: "norm of the cotangent at its input",
          },
          {
            key: "out",
            name: "|g| out",
            show: (v, r) => ten(v, r.why.startsWith("exactly") ? "0" : "\u2013"),
            title: "norm of the cotangent at its output",
          },
          { key: "gain", name: "ln gain", show: two },
          ...FACTORS.map((f) => ({ key: f, name: f, show: two })),
          {
            key: "square",
            name: "\u03c6\u2032\u00b2",
            title: "mean of the squared slope",
            show: (v) => (is(v) ? String(Number(v.toPrecision(3))) : "\u2013"),
          },
          { key: "saturated", name: "saturated", show: (v) => percent(v) },
          { key: "dead", name: "dead", show: (v) => percent(v) },
          { key: "mean", name: "mean", show: (v) => num(v, 3), title: "of its output" },
          { key: "std", name: "std", show: (v) => num(v, 3), title: "of its output" },
        ],
      }),
    ];
  },
};
