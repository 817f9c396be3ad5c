// Measured gains beside what mean-field theory says of networks of this width.
import { axis, layerChart, shapes } from "../chart.js";
import { formula, h } from "../dom.js";
import { because, is, num, signed } from "../format.js";
import { points } from "../page.js";

const of = (l) => l.theory || {};

export function depthScales(t) {
  const d = (t && t.depth_scales) || {};
  const names = { gradient: "gradient", correlation: "correlation", length: "length" };
  const list = Object.keys(names).filter((k) => k in d);
  if (!list.length) return null;
  return h(
    "dl",
    { class: "facts row" },
    list.map((k) =>
      h(
        "div",
        {},
        h("dt", {}, `depth scale of the ${names[k]}`),
        h("dd", {}, is(d[k]) ? `${num(d[k], 1)} layers` : "none: it does not decay"),
      ),
    ),
  );
}

export const theory = {
  id: "theory",
  title: "Measured against theory",
  nav: "Theory",
  part: "theory",
  has: (page) => page.layers.some((l) => l.theory),
  lead: () =>
    h(
      "p",
      {},
      "The line is measured; the band is where mean-field theory expects 95 % of networks " +
        "of this width with random weights of these variances: ",
      formula("chi"),
      ".",
    ),
  draw(page) {
    const t = page.doc.theory || {};
    const measured = page.layers.map((l) => l.ln_gain ?? null);
    const all = [...measured, ...page.layers.flatMap((l) => [of(l).ln_gain, of(l).low, of(l).high])].filter(is);
    const [low, high] = [Math.min(0, ...bound(all, Math.min)), Math.max(0, ...bound(all, Math.max))];
    const pad = Math.max(0.2, (high - low) * 0.1);
    const chart = layerChart(page, {
      name: "theory",
      label: "ln gain of each layer, measured and by theory",
      height: 280,
      option(c) {
        const [a, b] = page.view;
        const step = Math.max(1, Math.ceil((b - a + 1) / 300));
        const band = [];
        for (let i = a; i <= Math.min(b, page.n - 1); i += step) {
          let lo = Infinity;
          let hi = -Infinity;
          for (let k = i; k < Math.min(i + step, page.n); k++) {
            if (!is(of(page.layers[k]).low) || !is(of(page.layers[k]).high)) continue;
            lo = Math.min(lo, of(page.layers[k]).low);
            hi = Math.max(hi, of(page.layers[k]).high);
          }
          if (lo <= hi) band.push({ from: i, to: Math.min(i + step, page.n) - 1, lo, hi });
        }
        const line = (id, values, colour, type, width, dots) => ({
          id,
          type: "line",
          data: points(page, values),
          connectNulls: false,
          silent: true,
          z: 4,
          lineStyle: { color: colour, width, type },
          itemStyle: { color: colour },
          symbol: "circle",
          symbolSize: 5,
          showSymbol: dots && b - a < 70,
        });
        return {
          grid: { left: 64, right: 22 },
          yAxis: axis(c, {
            min: low - pad,
            max: high + pad,
            name: "ln gain",
            nameLocation: "end",
            nameGap: 8,
            axisLabel: {
              showMinLabel: false,
              showMaxLabel: false,
              formatter: (v) => num(v, high - low > 3 ? 0 : high - low > 0.5 ? 1 : 2),
            },
          }),
          series: [
            shapes(
              "band",
              band,
              (px, r) => {
                const [x1, y1] = px(r.from - 0.5, r.hi);
                const [x2, y2] = px(r.to + 0.5, r.lo);
                return [
                  {
                    type: "rect",
                    shape: { x: x1, y: y1, width: x2 - x1, height: Math.max(2, y2 - y1) },
                    style: { fill: c("theory-band") },
                  },
                ];
              },
              1,
            ),
            line(
              "theory",
              page.layers.map((l) => of(l).ln_gain ?? null),
              c("second"),
              "dashed",
              1.6,
              false,
            ),
            line("measured", measured, c("accent"), "solid", 2.2, true),
          ],
        };
      },
      tip(i) {
        const l = page.layers[i];
        const x = of(l);
        return [
          ["measured", is(l.ln_gain) ? signed(l.ln_gain, 3) : because(l)],
          ["theory", is(x.ln_gain) ? signed(x.ln_gain, 3) : "none"],
          ["band", is(x.low) ? `${signed(x.low, 3)} to ${signed(x.high, 3)}` : "none"],
          ...(is(x.chi) ? [["\u03c7", num(x.chi, 4)]] : []),
        ];
      },
      table: () => ({
        rows: page.layers.map((l, i) => ({
          i: i + 1,
          name: l.name,
          measured: l.ln_gain ?? null,
          theory: of(l).ln_gain ?? null,
          low: of(l).low ?? null,
          high: of(l).high ?? null,
          sw: of(l).weight_variance ?? null,
          sb: of(l).bias_variance ?? null,
          q: of(l).length ?? null,
          chi: of(l).chi ?? null,
          activation: of(l).activation ?? null,
        })),
        columns: [
          { key: "i", name: "#", show: (v) => String(v) },
          { key: "name", name: "layer", text: true, copy: true },
          { key: "measured", name: "measured", show: (v) => num(v, 3) },
          { key: "theory", name: "theory", show: (v) => num(v, 3) },
          { key: "low", name: "low", show: (v) => num(v, 3) },
          { key: "high", name: "high", show: (v) => num(v, 3) },
          { key: "sw", name: "\u03c3w\u00b2", show: (v) => num(v, 4) },
          { key: "sb", name: "\u03c3b\u00b2", show: (v) => num(v, 4) },
          { key: "q", name: "q", show: (v) => num(v, 4) },
          { key: "chi", name: "\u03c7", show: (v) => num(v, 4) },
          { key: "activation", name: "activation", text: true },
        ],
      }),
    });
    return [
      t.said ? h("p", { class: t.applies === false ? "warning" : "note" }, t.said) : null,
      h(
        "p",
        { class: "legend" },
        h("span", { class: "key" }, h("i", { class: "line accent" }), "measured"),
        h("span", { class: "key" }, h("i", { class: "line second" }), "theory"),
        h("span", { class: "key" }, h("i", { class: "box theory-band" }), "band of finite width"),
      ),
      chart.figure,
      depthScales(t),
    ];
  },
};

function bound(list, pick) {
  return list.length ? [list.reduce((a, b) => pick(a, b))] : [];
}
