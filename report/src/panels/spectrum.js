// Singular values of the Jacobians: of each layer as a strip, of input and output as one more.
import { axis, layerChart, shapes } from "../chart.js";
import { formula, h } from "../dom.js";
import { is, num, ten } from "../format.js";
import { bins } from "../page.js";

const log = (s, which) => {
  if (!s) return null;
  if (is(s[`log10_${which}`])) return s[`log10_${which}`];
  return is(s[which]) && s[which] > 0 ? Math.log10(s[which]) : null;
};
const quantiles = (s) => ((s && s.quantiles) || []).filter(is);

/** The whole network's: a strip across. */
function network(s) {
  const [low, high] = [log(s, "smallest"), log(s, "largest")];
  if (high === null) return h("p", { class: "note" }, s.said || "The Jacobian of the network was not decomposed.");
  const q = quantiles(s);
  const from = Math.floor(Math.min(low ?? high, ...q, 0) - 0.2);
  const to = Math.ceil(Math.max(high, 0) + 0.2);
  const at = (x) => `${(100 * (x - from)) / (to - from)}%`;
  const bands = [];
  for (let k = 0; k < Math.floor(q.length / 2); k++) bands.push([q[k], q[q.length - 1 - k]]);
  return h(
    "div",
    { class: "strip-box" },
    h(
      "p",
      { class: "strip-title" },
      "From the network\u2019s input to its output: largest ",
      h("b", {}, ten(high)),
      ", smallest ",
      h("b", {}, low === null ? "not known" : ten(low)),
      low !== null ? `, condition number ${ten(high - low)}` : "",
      s.exact === false ? " (from products only)" : "",
    ),
    h(
      "div",
      {
        class: "strip",
        role: "img",
        "aria-label": `singular values from 10 to the ${num(low ?? NaN)} to 10 to the ${num(high)}`,
      },
      h("i", { class: "whisker", style: `left:${at(low ?? high)};width:calc(${at(high)} - ${at(low ?? high)})` }),
      bands.map(([a, b]) =>
        h("i", {
          class: "quantile",
          style: `left:${at(Math.min(a, b))};width:calc(${at(Math.max(a, b))} - ${at(Math.min(a, b))})`,
        }),
      ),
      h("i", { class: "one", style: `left:${at(0)}` }, h("span", {}, "1")),
    ),
    s.said ? h("p", { class: "note" }, s.said) : null,
  );
}

export const spectrum = {
  id: "spectrum",
  title: "Singular values",
  nav: "Spectrum",
  part: "spectrum",
  has: (page) => page.doc.spectrum || page.layers.some((l) => l.spectrum),
  lead: () =>
    h(
      "p",
      {},
      "A Jacobian stretches some directions and squeezes others; the gradient of a direction goes with it. ",
      formula("singular"),
      ". Darker: nearer to the median; the thin line ends at the largest and the smallest.",
    ),
  draw(page) {
    const out = [];
    if (page.doc.spectrum) out.push(network(page.doc.spectrum));
    if (!page.layers.some((l) => log(l.spectrum, "largest") !== null)) return out;
    const all = page.layers
      .flatMap((l) => [log(l.spectrum, "largest"), log(l.spectrum, "smallest"), ...quantiles(l.spectrum)])
      .filter(is);
    const low = all.reduce((a, b) => Math.min(a, b), 0);
    const high = all.reduce((a, b) => Math.max(a, b), 0);
    const pad = Math.max(0.15, (high - low) * 0.06);
    const chart = layerChart(page, {
      name: "spectrum",
      label: "Singular values of the Jacobian of each layer",
      height: 280,
      option(c, width) {
        const { size, list } = bins(page, Math.floor((width - 80) / 7));
        const items = list.map((b) => {
          let [lo, hi] = [Infinity, -Infinity];
          for (let i = b.from; i <= b.to; i++) {
            const s = page.layers[i].spectrum;
            if (log(s, "largest") !== null) hi = Math.max(hi, log(s, "largest"));
            lo = Math.min(lo, log(s, "smallest") ?? log(s, "largest") ?? Infinity);
          }
          return {
            ...b,
            lo,
            hi,
            q:
              size === 1
                ? quantiles(page.layers[b.from].spectrum)
                    .slice()
                    .sort((x, y) => x - y)
                : [],
          };
        });
        return {
          grid: { left: 64, right: 22 },
          yAxis: axis(c, {
            min: low - pad,
            max: high + pad,
            name: "log\u2081\u2080 \u03c3",
            nameLocation: "end",
            nameGap: 8,
            axisLabel: { showMinLabel: false, showMaxLabel: false, formatter: (v) => num(v, high - low > 4 ? 0 : 1) },
          }),
          series: [
            shapes(
              "strips",
              items,
              (px, b, area) => {
                const x1 = px(b.from - 0.5, 0)[0];
                const x2 = px(b.to + 0.5, 0)[0];
                const mid = (x1 + x2) / 2;
                const half = Math.min(13, (x2 - x1) * 0.36);
                if (b.hi < b.lo) {
                  return size === 1
                    ? [
                        {
                          type: "text",
                          x: mid,
                          y: area.y + area.height - 4,
                          rotation: Math.PI / 2,
                          style: {
                            text: "not measured",
                            fill: c("muted"),
                            fontSize: 10,
                            align: "left",
                            verticalAlign: "middle",
                          },
                        },
                      ]
                    : null;
                }
                const shapesOf = [
                  {
                    type: "line",
                    shape: { x1: mid, x2: mid, y1: px(0, b.lo)[1], y2: px(0, b.hi)[1] },
                    style: { stroke: c("accent"), lineWidth: 1.5 },
                  },
                ];
                for (const y of [b.lo, b.hi])
                  shapesOf.push({
                    type: "line",
                    shape: { x1: mid - half * 0.6, x2: mid + half * 0.6, y1: px(0, y)[1], y2: px(0, y)[1] },
                    style: { stroke: c("accent"), lineWidth: 1.5 },
                  });
                for (let k = 0; k < Math.floor(b.q.length / 2); k++) {
                  const y1 = px(0, b.q[b.q.length - 1 - k])[1];
                  const y2 = px(0, b.q[k])[1];
                  shapesOf.push({
                    type: "rect",
                    shape: { x: mid - half, y: y1, width: 2 * half, height: Math.max(1, y2 - y1) },
                    style: { fill: c("accent"), opacity: 0.28 },
                  });
                }
                return shapesOf;
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
              1,
            ),
          ],
        };
      },
      tip(i) {
        const s = page.layers[i].spectrum;
        if (log(s, "largest") === null) return [["singular values", "not measured"]];
        const q = quantiles(s);
        return [
          ["largest", ten(log(s, "largest"))],
          ["smallest", log(s, "smallest") === null ? "not known" : ten(log(s, "smallest"))],
          ...(q.length % 2 ? [["median", ten(q.slice().sort((a, b) => a - b)[(q.length - 1) / 2])]] : []),
        ];
      },
      table: () => ({
        rows: page.layers.map((l, i) => ({
          i: i + 1,
          name: l.name,
          high: log(l.spectrum, "largest"),
          low: log(l.spectrum, "smallest"),
          q: quantiles(l.spectrum)
            .map((v) => num(v))
            .join("  "),
        })),
        columns: [
          { key: "i", name: "#", show: (v) => String(v) },
          { key: "name", name: "layer", text: true, copy: true },
          { key: "high", name: "log\u2081\u2080 largest", show: (v) => num(v, 3) },
          { key: "low", name: "log\u2081\u2080 smallest", show: (v) => num(v, 3) },
          { key: "q", name: "log\u2081\u2080 of the quantiles", text: true },
        ],
      }),
    });
    out.push(chart.figure);
    return out;
  },
};
