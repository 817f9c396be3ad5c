// ln gain by factor of the chain rule: of the whole network as a waterfall, of each layer as stacked bars.
import { axis, layerChart, shapes } from "../chart.js";
import { formula, h } from "../dom.js";
import { FACTOR_TEXT, FACTORS } from "../factors.js";
import { because, fixed, is, LN10, num, percent, plural, signed, ten } from "../format.js";
import { bins } from "../page.js";

const known = (l) => l.factors && FACTORS.every((f) => is(l.factors[f]));

/** The factors of layers from..to, summed, and how many of them have none. */
export function total(layers, from, to) {
  const sum = { slope: 0, weight: 0, norm: 0, skip: 0, rest: 0, gain: 0, holes: 0, n: 0 };
  for (let i = from; i <= to; i++) {
    if (!known(layers[i])) {
      sum.holes++;
      continue;
    }
    sum.n++;
    for (const f of FACTORS) sum[f] += layers[i].factors[f];
    sum.gain += layers[i].ln_gain;
  }
  return sum;
}

// The waterfall: each factor begins where the one before ended; the last bar is the sum.
function whole(page) {
  const sum = total(page.layers, 0, page.n - 1);
  if (!sum.n)
    return h("p", { class: "quiet" }, "No layer has a gain: every cotangent is exactly 0, or none is a number.");
  const steps = [];
  let at = 0;
  for (const f of FACTORS) {
    steps.push({ f, from: at, to: at + sum[f] });
    at += sum[f];
  }
  steps.push({ f: "gain", from: 0, to: sum.gain });
  const most = Math.max(1, ...steps.flatMap((s) => [Math.abs(s.from), Math.abs(s.to)])) * 1.04;
  const at2 = (x) => 50 + (50 * x) / most;
  const same = FACTORS.reduce((a, f) => a + (Math.sign(sum[f]) === Math.sign(sum.gain) ? Math.abs(sum[f]) : 0), 0);
  return h(
    "div",
    { class: "waterfall", role: "table", "aria-label": "ln gain of the whole network by factor" },
    steps.map((s) =>
      h(
        "div",
        { class: `fall ${s.f}`, role: "row", "data-factor": s.f, "data-value": s.f === "gain" ? sum.gain : sum[s.f] },
        h(
          "span",
          { class: "fall-name", role: "rowheader" },
          s.f === "gain" ? h("b", {}, "ln gain") : s.f,
          h("small", {}, s.f === "gain" ? `= ${ten(sum.gain / LN10)}` : FACTOR_TEXT[s.f]),
        ),
        h(
          "span",
          { class: "fall-track", role: "cell", "aria-hidden": "true" },
          h("i", { class: "mid" }),
          h("i", {
            class: `bar f-${s.f}`,
            style: `left:${Math.min(at2(s.from), at2(s.to))}%;width:max(1px, ${Math.abs(at2(s.to) - at2(s.from))}%)`,
          }),
        ),
        h(
          "span",
          { class: "fall-value", role: "cell" },
          signed(s.f === "gain" ? sum.gain : sum[s.f]),
          h(
            "small",
            {},
            s.f !== "gain" && same > 0 && Math.sign(sum[s.f]) === Math.sign(sum.gain) && sum[s.f] !== 0
              ? percent(Math.abs(sum[s.f]) / same)
              : "",
          ),
        ),
      ),
    ),
    sum.holes
      ? h(
          "p",
          { class: "note" },
          `${plural(sum.holes, "layer")} without a gain ${sum.holes === 1 ? "is" : "are"} not in these sums.`,
        )
      : null,
  );
}

export const waterfall = {
  id: "factors",
  title: "Which factor of the chain rule does it",
  nav: "Factors",
  has: (page) => page.layers.some((l) => l.factors),
  lead: () =>
    h(
      "p",
      {},
      "What a layer multiplies the gradient by on its way back, as a logarithm that parts " +
        "into the factors of the chain rule, exactly: ",
      formula("gain"),
      ".",
    ),
  draw(page) {
    // The scale is that of all layers at this width of groups, so that it stays as it is while one moves along.
    const scale = new Map();
    const most = (size) => {
      if (!scale.has(size)) {
        let m = 0.5;
        for (let from = 0; from < page.n; from += size) {
          const s = total(page.layers, from, Math.min(page.n, from + size) - 1);
          const up = FACTORS.reduce((a, f) => a + Math.max(0, s[f]), 0);
          const down = FACTORS.reduce((a, f) => a + Math.max(0, -s[f]), 0);
          m = Math.max(m, up, down);
        }
        scale.set(size, m * 1.08);
      }
      return scale.get(size);
    };
    const said = h("p", { class: "note", role: "status" });
    const chart = layerChart(page, {
      name: "factors",
      label: "ln gain of each layer by factor",
      height: 320,
      option(c, width) {
        const { size, list } = bins(page, Math.max(20, Math.floor((width - 80) / 9)));
        const m = most(size);
        const step = m > 4 ? 1 : m > 1 ? 2 : 3;
        said.textContent =
          size === 1 ? "" : `Each bar is the sum over ${size} layers. Zoom in (drag, or +) for single ones.`;
        const bars = list.map((b) => ({ ...b, sum: total(page.layers, b.from, b.to) }));
        return {
          grid: { left: 64, right: 22 },
          yAxis: axis(c, {
            min: -m,
            max: m,
            name: "ln gain",
            nameLocation: "end",
            nameGap: 8,
            axisLabel: { showMinLabel: false, showMaxLabel: false, formatter: (v) => num(v, step - 1) },
          }),
          series: [
            shapes(
              "bars",
              bars,
              (px, b, area) => {
                const x1 = Math.max(area.x, px(b.from - 0.5, 0)[0]);
                const x2 = Math.min(area.x + area.width, px(b.to + 0.5, 0)[0]);
                const pad = Math.min(6, (x2 - x1) * 0.14);
                const out = [];
                let up = 0;
                let down = 0;
                for (const f of FACTORS) {
                  const v = b.sum[f];
                  if (!b.sum.n || v === 0) continue;
                  const [a, z] = v > 0 ? [up, (up += v)] : [down, (down += v)];
                  const y1 = px(0, Math.max(a, z))[1];
                  const y2 = px(0, Math.min(a, z))[1];
                  out.push({
                    type: "rect",
                    shape: { x: x1 + pad, y: y1, width: x2 - x1 - 2 * pad, height: y2 - y1 },
                    style: { fill: c(`f-${f}`) },
                  });
                }
                if (b.sum.n) {
                  const y = px(0, b.sum.gain)[1];
                  out.push(
                    {
                      type: "line",
                      shape: { x1: x1 + pad / 2, x2: x2 - pad / 2, y1: y, y2: y },
                      style: { stroke: c("card"), lineWidth: 5 },
                    },
                    {
                      type: "line",
                      shape: { x1: x1 + pad / 2, x2: x2 - pad / 2, y1: y, y2: y },
                      style: { stroke: c("ink"), lineWidth: 2 },
                    },
                  );
                }
                if (b.sum.holes) {
                  const few = x2 - x1 < 52;
                  const y = px(0, 0)[1];
                  out.push(
                    {
                      type: "rect",
                      shape: {
                        x: x1 + pad,
                        y: area.y + 2,
                        width: Math.max(2, x2 - x1 - 2 * pad),
                        height: area.height - 4,
                      },
                      style: { fill: b.sum.n ? "none" : c("gap"), stroke: c("hatch"), lineDash: [3, 3] },
                    },
                    {
                      type: "text",
                      x: (x1 + x2) / 2,
                      y: b.sum.n ? area.y + 10 : y,
                      rotation: few ? Math.PI / 2 : 0,
                      style: {
                        text:
                          b.from === b.to
                            ? page.layers[b.from].zero_because
                              ? "exactly 0"
                              : "no number"
                            : `${b.sum.holes} without`,
                        fill: c("muted"),
                        fontSize: 10.5,
                        align: few && b.sum.n ? "right" : "center",
                        verticalAlign: "middle",
                      },
                    },
                  );
                }
                return out;
              },
              3,
            ),
            shapes(
              "zero",
              [0],
              (px, _, area) => {
                const y = px(0, 0)[1];
                return [
                  {
                    type: "line",
                    shape: { x1: area.x, x2: area.x + area.width, y1: y, y2: y },
                    style: { stroke: c("line-strong"), lineWidth: 1 },
                  },
                ];
              },
              4,
            ),
          ],
        };
      },
      tip(i) {
        const l = page.layers[i];
        if (!known(l)) return [["ln gain", because(l)]];
        return [
          ["ln gain", signed(l.ln_gain)],
          ...FACTORS.filter((f) => l.factors[f] !== 0).map((f) => [f, signed(l.factors[f])]),
        ];
      },
      table: () => ({
        rows: page.layers.map((l, i) => ({
          i: i + 1,
          name: l.name,
          gain: l.ln_gain ?? null,
          ...Object.fromEntries(FACTORS.map((f) => [f, l.factors ? (l.factors[f] ?? null) : null])),
          why: because(l),
        })),
        columns: [
          { key: "i", name: "#", show: (v) => String(v) },
          { key: "name", name: "layer", text: true, copy: true },
          { key: "gain", name: "ln gain", show: (v) => fixed(v) },
          ...FACTORS.map((f) => ({ key: f, name: f, show: (v) => fixed(v) })),
        ],
      }),
    });
    return [
      whole(page),
      h(
        "p",
        { class: "legend" },
        FACTORS.map((f) => h("span", { class: "key" }, h("i", { class: `box f-${f}` }), f)),
        h("span", { class: "key" }, h("i", { class: "line ink" }), "ln gain"),
      ),
      chart.figure,
      said,
    ];
  },
};
