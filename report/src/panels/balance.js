// How even the relative gradients of the parameters are: what plain gradient descent notices.
import { formula, h } from "../dom.js";
import { is, LN10, num, ten } from "../format.js";
import { table } from "../table.js";

export const balance = {
  id: "balance",
  title: "Gradients of parameters",
  nav: "Parameters",
  part: "balance",
  has: (page) => page.layers.some((l) => (l.gradients || []).length),
  lead: () =>
    h(
      "p",
      {},
      "What one learning rate means for each parameter: ",
      formula("balance"),
      ". This changes when layers are rescaled without a change of the function, so it is " +
        "evidence and decides nothing.",
    ),
  draw(page) {
    const b = page.doc.balance || {};
    const rows = page.layers.flatMap((l, i) =>
      (l.gradients || []).map((g) => ({
        i: i + 1,
        parameter: g.parameter,
        layer: l.name,
        norm: g.log10_norm ?? null,
        weight: g.log10_weight_norm ?? null,
        relative: is(g.log10_norm) && is(g.log10_weight_norm) ? (g.log10_norm - g.log10_weight_norm) * LN10 : null,
        cosine: g.cosine ?? null,
      })),
    );
    return [
      is(b.spread)
        ? h(
            "p",
            {},
            "Spread of ln(|gradient| / |weight|): ",
            h("b", {}, num(b.spread)),
            `, a factor of ${ten(b.spread / LN10)} between the extremes. `,
            b.said || "",
          )
        : b.said
          ? h("p", { class: "note" }, b.said)
          : null,
      rows.length
        ? table({
            caption: "Gradients of all parameters",
            rows,
            filter: "Filter parameters and layers",
            columns: [
              { key: "i", name: "#", show: (v) => String(v) },
              { key: "parameter", name: "parameter", text: true, copy: true },
              { key: "layer", name: "layer", text: true },
              { key: "norm", name: "|gradient|", show: (v) => ten(v, "exactly 0") },
              { key: "weight", name: "|weight|", show: (v) => ten(v, "0") },
              { key: "relative", name: "ln ratio" },
              { key: "cosine", name: "cosine", show: (v) => num(v, 3) },
            ],
            height: 340,
          })
        : null,
    ];
  },
};
