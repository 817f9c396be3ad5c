// Are gradients of neighbouring inputs alike?
import { formula, h } from "../dom.js";
import { is, num } from "../format.js";

export const shattering = {
  id: "shattering",
  title: "Shattered gradients",
  nav: "Shattering",
  part: "shattering",
  lead: () =>
    h(
      "p",
      {},
      "Two inputs that are nearly the same should ask for nearly the same step: ",
      formula("shatter"),
      ". In deep networks without skips this falls towards 0, and each sample pulls its own way.",
    ),
  draw(page) {
    const s = page.doc.shattering;
    const rows = [
      ["inputs", s.input_cosine, "muted"],
      ["gradients, measured", s.cosine, "accent"],
      ["gradients, by theory", s.theory, "second"],
    ];
    return [
      h(
        "div",
        { class: "bars", role: "table", "aria-label": "cosines" },
        rows.map(([name, v, tone]) =>
          h(
            "div",
            { class: "bar-row", role: "row" },
            h("span", { role: "rowheader" }, name),
            h(
              "span",
              { class: "bar-track", role: "cell", "aria-hidden": "true" },
              h("i", {
                class: tone,
                style: is(v) ? `left:${v < 0 ? 50 + 50 * v : 50}%;width:${50 * Math.abs(v)}%` : "display:none",
              }),
              h("i", { class: "mid" }),
            ),
            h(
              "span",
              { role: "cell", class: "bar-value" },
              is(v) ? num(v, 3) : name.includes("theory") ? "no theory for this network" : "not measured",
            ),
          ),
        ),
      ),
      h("p", { class: "note" }, is(s.pairs) ? `Mean over ${s.pairs} pairs of inputs. ` : "", s.why || s.said || ""),
    ];
  },
};
