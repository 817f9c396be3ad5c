// Which number formats hold the gradient, and at which scale of the loss.
import { h } from "../dom.js";
import { is, num, percent, ten } from "../format.js";

const FORMATS = ["float32", "bfloat16", "float16"];

export const formats = {
  id: "formats",
  title: "Number formats",
  nav: "Formats",
  part: "number_format",
  lead: () =>
    h(
      "p",
      {},
      "For each format, the factors by which the loss may be multiplied so that the " +
        "cotangents neither underflow nor overflow. The line is 1, no scaling.",
    ),
  draw(page) {
    const f = page.doc.number_format;
    const names = FORMATS.filter((k) => f[k]);
    const all = names.flatMap((k) => [f[k].log10_smallest_scale, f[k].log10_largest_scale]).filter(is);
    const low = all.reduce((a, b) => Math.min(a, b), -2) - 1;
    const high = all.reduce((a, b) => Math.max(a, b), 2) + 1;
    const at = (x) => (100 * (x - low)) / (high - low);
    return [
      h(
        "div",
        { class: "bars formats" },
        names.map((k) => {
          const x = f[k];
          const [a, b] = [x.log10_smallest_scale, x.log10_largest_scale];
          const some = is(a) && is(b) && b >= a;
          const holds = some && a <= 0 && b >= 0;
          const says = !some
            ? "no scale of the loss is enough"
            : holds
              ? "holds without scaling"
              : `needs the loss times ${a > 0 ? `${ten(a)} or more` : `${ten(b)} or less`}`;
          return h(
            "div",
            { class: "bar-row" },
            h("span", {}, k),
            h(
              "span",
              { class: "bar-track", "aria-hidden": "true" },
              some
                ? h("i", {
                    class: holds ? "accent" : "warn",
                    style: `left:${at(a)}%;width:${Math.max(0.4, at(b) - at(a))}%`,
                  })
                : null,
              h("i", { class: "mid", style: `left:${at(0)}%` }),
            ),
            h(
              "span",
              { class: "bar-value wide" },
              h("b", {}, says),
              some ? `, from ${ten(a)} to ${ten(b)}` : "",
              x.fails_at ? h("span", { class: "quiet" }, ` gives up at ${x.fails_at}`) : "",
              is(x.share_underflow) ? h("span", { class: "quiet" }, ` ${percent(x.share_underflow)} flushed`) : "",
              is(x.updates_lost)
                ? h(
                    "span",
                    { class: "quiet" },
                    ` ${percent(x.updates_lost)} of updates below half a unit of their weight`,
                  )
                : "",
            ),
          );
        }),
      ),
      f.said ? h("p", { class: "note" }, f.said) : null,
      h(
        "p",
        { class: "quiet" },
        `The scale runs from ${ten(low)} to ${ten(high)}, in powers of ten (log\u2081\u2080 ` +
          `from ${num(low, 0)} to ${num(high, 0)}).`,
      ),
    ];
  },
};
