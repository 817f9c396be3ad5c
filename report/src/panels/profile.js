// Lambda over the layers.
import { axis, holes, layerChart, marks, rules, shapes } from "../chart.js";
import { formula, h } from "../dom.js";
import { because, is, LN10, num, signed, tail, ten } from "../format.js";
import { gaps, points } from "../page.js";
import { names } from "./verdict.js";

const ADAM = Math.log(1e-8); // epsilon of Adam
const HALF = Math.log(2 ** -24); // the smallest positive number of float16
const FORMATS = ["float16", "bfloat16", "float32"];

export const lambdas = (layers) => layers.map((l) => (is(l.lambda) ? l.lambda : null));

/** Layers at which a number format gives up, by the document. */
function fails(page) {
  const f = page.doc.number_format || {};
  return FORMATS.filter((k) => f[k] && f[k].fails_at)
    .map((k, row) => ({
      x: page.layers.findIndex((l) => l.name === f[k].fails_at),
      row,
      label: `${k} gives up`,
    }))
    .filter((m) => m.x >= 0);
}

function range(page, series) {
  const t = page.threshold;
  let [low, high] = [-t * 1.3, t * 1.3];
  for (const v of series.flat()) {
    if (!is(v)) continue;
    low = Math.min(low, v * 1.06);
    high = Math.max(high, v * 1.06);
  }
  return [Math.floor(low), Math.ceil(high)];
}

export const profile = {
  id: "profile",
  title: "Where the gradient goes",
  nav: "Profile",
  has: (page) => page.n > 0,
  lead: (page) =>
    h(
      "p",
      {},
      "How much a change of a layer\u2019s output, relative to its size, moves the loss, " +
        "beside the same of the network\u2019s output: ",
      formula("lambda"),
      ". Between the dashed lines plain gradient descent trains; below, the layers in front of it hardly move; " +
        "above, they jump.",
      page.against ? " Both networks are drawn by the number of the layer." : null,
    ),
  draw(page) {
    const mine = lambdas(page.layers);
    const other = page.against ? lambdas(page.against.layers) : null;
    const [min, max] = range(page, other ? [mine, other] : [mine]);
    const t = page.threshold;
    const c1 = layerChart(page, {
      name: "profile",
      label: "Lambda over the layers",
      height: 340,
      option(c) {
        const line = (id, values, colour, dash) => {
          const data = points(page, values);
          const lone = data.filter(
            (p, i) =>
              p[1] !== null && (!data[i - 1] || data[i - 1][1] === null) && (!data[i + 1] || data[i + 1][1] === null),
          ).length;
          return {
            id,
            type: "line",
            data,
            connectNulls: false,
            silent: true,
            z: 5,
            lineStyle: { color: colour, width: 2.2, type: dash },
            itemStyle: { color: colour },
            symbol: dash ? "emptyCircle" : "circle",
            symbolSize: 6,
            showSymbol: data.length <= 70 || lone > 0,
            showAllSymbol: true,
          };
        };
        const lines = [
          { y: t, label: "ln 1000: exploding above", colour: c("high") },
          { y: -t, label: "\u2212ln 1000: vanishing below", colour: c("low"), below: true },
        ];
        if (min < ADAM)
          lines.push({
            y: ADAM,
            label: "ln 10\u207b\u2078: \u03b5 of Adam",
            colour: c("muted"),
            dash: [1, 3],
            below: true,
          });
        if (min < HALF)
          lines.push({
            y: HALF,
            label: "ln 2\u207b\u00b2\u2074: smallest number of float16",
            colour: c("muted"),
            dash: [1, 3],
          });
        return {
          grid: { left: 64, right: 22 },
          yAxis: axis(c, {
            min,
            max,
            name: "\u039b",
            nameLocation: "end",
            nameGap: 8,
            axisLabel: { showMinLabel: false, showMaxLabel: false, formatter: (v) => num(v, 0) },
          }),
          series: [
            shapes(
              "fits",
              [0],
              (px, _, area) => {
                const y1 = Math.max(area.y, px(0, t)[1]);
                const y2 = Math.min(area.y + area.height, px(0, -t)[1]);
                return [
                  {
                    type: "rect",
                    shape: { x: area.x, y: y1, width: area.width, height: y2 - y1 },
                    style: { fill: c("band") },
                  },
                ];
              },
              0,
            ),
            ...rules(c, lines),
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
            marks(
              c,
              fails(page).map((m) => ({ ...m, colour: c("ink") })),
            ),
            holes(
              c,
              gaps(mine).map(([from, to]) => ({
                from,
                to,
                label: page.layers[from].zero_because ? "exactly 0" : "no number",
              })),
            ),
            ...(other ? [line("against", other, c("second"), "dashed")] : []),
            line("lambda", mine, c("accent")),
          ],
        };
      },
      tip(i) {
        const l = page.layers[i];
        const out = [
          ["\u039b", is(l.lambda) ? signed(l.lambda) : because(l)],
          ["effect", is(l.lambda) ? ten(l.lambda / LN10) : "\u2013"],
          ["|g| at its output", is(l.log10_cotangent_out) ? ten(l.log10_cotangent_out) : "\u2013"],
        ];
        if (other && i < other.length) out.push([`\u039b, ${tail(names(page)[1], 24)}`, signed(other[i])]);
        return out;
      },
      table: () => ({
        rows: page.layers.map((l, i) => ({
          i: i + 1,
          name: l.name,
          lambda: l.lambda ?? null,
          log10: is(l.lambda) ? l.lambda / LN10 : null,
          other: other && is(other[i]) ? other[i] : null,
          why: because(l),
        })),
        columns: [
          { key: "i", name: "#", show: (v) => String(v) },
          { key: "name", name: "layer", text: true, copy: true },
          { key: "lambda", name: "\u039b" },
          { key: "log10", name: "log\u2081\u2080 of the effect" },
          ...(other ? [{ key: "other", name: "\u039b against" }] : []),
        ],
      }),
    });
    const legend = other
      ? h(
          "p",
          { class: "legend" },
          h("span", { class: "key" }, h("i", { class: "line accent" }), names(page)[0]),
          h("span", { class: "key" }, h("i", { class: "line second" }), names(page)[1]),
        )
      : null;
    return [legend, c1.figure];
  },
};
