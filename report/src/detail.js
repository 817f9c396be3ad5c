// All numbers of one layer, beside the panels.
import { copyable, h } from "./dom.js";
import { FACTORS } from "./factors.js";
import { because, is, LN10, num, percent, signed, ten } from "./format.js";

function rows(list) {
  return h(
    "dl",
    {},
    list.filter(([, v]) => v !== null && v !== undefined).map(([k, v]) => [h("dt", {}, k), h("dd", {}, v)]),
  );
}

function numbers(l) {
  const t = l.theory || {};
  const s = l.spectrum;
  return [
    l.zero_because ? h("p", { class: "warning" }, `Its gradient is ${because(l)}.`) : null,
    rows([
      ["operator", l.op],
      ["\u039b", is(l.lambda) ? `${signed(l.lambda)}, an effect of ${ten(l.lambda / LN10)}` : because(l)],
      ["|g| at its input", ten(l.log10_cotangent_in, because(l))],
      ["|g| at its output", ten(l.log10_cotangent_out, because(l))],
      ["ln gain", is(l.ln_gain) ? signed(l.ln_gain, 3) : because(l)],
      ...FACTORS.map((f) => [
        `\u2003${f}`,
        l.factors && is(l.factors[f]) && l.factors[f] !== 0 ? signed(l.factors[f], 3) : null,
      ]),
      [
        "theory",
        is(t.ln_gain)
          ? `${signed(t.ln_gain, 3)}, band ${signed(t.low, 3)} to ${signed(t.high, 3)}`
          : l.no_theory || null,
      ],
      [
        "\u03c3w\u00b2, \u03c3b\u00b2",
        is(t.weight_variance) ? `${num(t.weight_variance, 4)}, ${num(t.bias_variance, 4)}` : null,
      ],
      ["\u03c7", is(t.chi) ? num(t.chi, 4) : null],
      [
        "singular values",
        s && is(s.largest ?? s.log10_largest)
          ? `${is(s.log10_smallest) ? ten(s.log10_smallest) : num(s.smallest, 4)} to ` +
            `${is(s.log10_largest) ? ten(s.log10_largest) : num(s.largest, 4)}`
          : null,
      ],
      [
        "mean of \u03c6\u2032\u00b2",
        is(l.slope_mean_square) ? String(Number(l.slope_mean_square.toPrecision(4))) : null,
      ],
      ["saturated", is(l.saturated_fraction) ? percent(l.saturated_fraction) : null],
      ["dead units", is(l.dead_fraction) ? percent(l.dead_fraction) : null],
      [
        "its output",
        l.activation && is(l.activation.mean)
          ? `mean ${num(l.activation.mean, 3)}, deviation ${num(l.activation.std, 3)}`
          : null,
      ],
    ]),
    (l.gradients || []).length
      ? [
          h("h3", {}, "Parameters"),
          h(
            "ul",
            { class: "gradients" },
            l.gradients.map((g) =>
              h(
                "li",
                {},
                h("span", { class: "code" }, g.parameter),
                copyable(g.parameter),
                h(
                  "div",
                  { class: "quiet" },
                  `|gradient| ${ten(g.log10_norm, "exactly 0")}, |weight| ${ten(g.log10_weight_norm, "0")}`,
                  is(g.cosine) ? `, cosine ${num(g.cosine, 3)}` : null,
                ),
              ),
            ),
          ),
        ]
      : null,
    l.after_step
      ? [
          h("h3", {}, "After one small step on the closed gates"),
          rows([
            ["\u039b", is(l.after_step.lambda) ? signed(l.after_step.lambda) : "no number"],
            ["|g| at its output", ten(l.after_step.log10_cotangent_out)],
            ["ln gain", is(l.after_step.ln_gain) ? signed(l.after_step.ln_gain, 3) : null],
          ]),
        ]
      : null,
    (l.children || []).length
      ? [
          h("h3", {}, "Inside"),
          h(
            "ul",
            { class: "gradients" },
            l.children.map((k) =>
              h(
                "li",
                {},
                h("span", { class: "code" }, k.name),
                h(
                  "div",
                  { class: "quiet" },
                  `${k.op || ""}${is(k.ln_gain) ? `, ln gain ${signed(k.ln_gain, 3)}` : ""}`,
                ),
              ),
            ),
          ),
        ]
      : null,
  ];
}

export function detail(page) {
  const body = h("div", { class: "detail-body" });
  const title = h("h2", { tabindex: -1 });
  const close = h(
    "button",
    { type: "button", class: "close", "aria-label": "Close", onclick: () => page.select(-1) },
    "\u00d7",
  );
  const go = (by) => () => page.select(Math.max(0, Math.min(page.n - 1, page.selected + by)));
  const box = h(
    "aside",
    { class: "detail", hidden: true, "aria-label": "The layer" },
    h(
      "div",
      { class: "detail-head" },
      title,
      h(
        "span",
        { class: "steps" },
        h("button", { type: "button", "aria-label": "The layer before", onclick: go(-1) }, "\u2190"),
        h("button", { type: "button", "aria-label": "The layer after", onclick: go(1) }, "\u2192"),
        close,
      ),
    ),
    body,
  );
  let back = null;
  page.addEventListener("select", () => {
    const i = page.selected;
    if (i < 0) {
      box.hidden = true;
      if (back && back.isConnected) back.focus({ preventScroll: true });
      back = null;
      return;
    }
    if (box.hidden) back = document.activeElement;
    const l = page.layers[i];
    title.replaceChildren(h("span", { class: "quiet" }, `${i + 1} `), l.name, copyable(l.name));
    body.replaceChildren(...numbers(l).flat(Infinity).filter(Boolean));
    const opened = box.hidden;
    box.hidden = false;
    if (opened) title.focus({ preventScroll: true });
    page.keep(i);
  });
  addEventListener("keydown", (e) => {
    if (e.key === "Escape" && !box.hidden) page.select(-1);
  });
  return box;
}
