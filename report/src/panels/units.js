// Saturated and dead units over the layers.
import { axis, layerChart, shapes } from "../chart.js";
import { formula, h } from "../dom.js";
import { is, percent } from "../format.js";
import { bins } from "../page.js";

const KINDS = [
  ["saturated_fraction", "saturated"],
  ["dead_fraction", "dead"],
];
const parts = (l) =>
  Array.isArray(l.children) && l.children.some((k) => KINDS.some(([key]) => is(k[key]))) ? l.children : [l];

/** Colour of a share: from the paper to the ink of this map. */
export function shade(c, v) {
  const [a, b] = [c("heat-0"), c("heat-1")].map((x) => x.match(/\w\w/g).map((k) => parseInt(k, 16)));
  const f = Math.sqrt(Math.max(0, Math.min(1, v))); // small shares are to be seen, too
  return `rgb(${a.map((k, i) => Math.round(k + (b[i] - k) * f)).join(",")})`;
}

export const units = {
  id: "units",
  title: "Saturated and dead units",
  nav: "Units",
  has: (page) =>
    page.layers.some((l) => KINDS.some(([key]) => is(l[key]) || (l.children || []).some((k) => is(k[key])))),
  lead: (page) =>
    h(
      "p",
      {},
      "Saturated: the share of entries on the flat part of a bounded activation, ",
      formula("saturated"),
      ". Dead: the share of ReLU-like units without slope on ",
      page.doc.data && is(page.doc.data.samples)
        ? `each of the ${page.doc.data.samples} samples`
        : "each of the samples",
      ". A blank cell: the layer has no such activation.",
    ),
  draw(page) {
    const rows = KINDS.filter(([key]) => page.layers.some((l) => parts(l).some((k) => is(k[key]))));
    const chart = layerChart(page, {
      name: "units",
      label: "Share of saturated and of dead units in each layer",
      height: 52 + 48 * rows.length,
      option(c, width) {
        const { list } = bins(page, Math.floor((width - 110) / 5));
        const cells = [];
        for (const b of list) {
          rows.forEach(([key], row) => {
            if (b.from === b.to) {
              const inner = parts(page.layers[b.from]);
              inner.forEach((k, j) =>
                cells.push({
                  row,
                  x: b.from - 0.5 + j / inner.length,
                  to: b.from - 0.5 + (j + 1) / inner.length,
                  v: is(k[key]) ? k[key] : null,
                }),
              );
            } else {
              let v = null;
              for (let i = b.from; i <= b.to; i++)
                for (const k of parts(page.layers[i])) if (is(k[key])) v = Math.max(v ?? 0, k[key]);
              cells.push({ row, x: b.from - 0.5, to: b.to + 0.5, v });
            }
          });
        }
        return {
          grid: { left: 76, right: 22, top: 8 },
          yAxis: axis(c, {
            min: -0.5,
            max: rows.length - 0.5,
            inverse: true,
            splitLine: { show: false },
            axisLine: { show: false },
            axisLabel: { customValues: rows.map((_, i) => i), formatter: (v) => (rows[v] ? rows[v][1] : "") },
          }),
          series: [
            shapes(
              "cells",
              cells,
              (px, d) => {
                const [x1, y1] = px(d.x, d.row - 0.46);
                const [x2, y2] = px(d.to, d.row + 0.46);
                const w = x2 - x1;
                const gap = w > 8 ? 1 : 0;
                const rect = {
                  type: "rect",
                  shape: { x: x1 + gap, y: Math.min(y1, y2), width: w - 2 * gap, height: Math.abs(y2 - y1) },
                  style:
                    d.v === null
                      ? { fill: "none", stroke: c("line"), lineWidth: w > 8 ? 1 : 0 }
                      : { fill: shade(c, d.v), stroke: c("line"), lineWidth: w > 8 ? 1 : 0 },
                };
                const word = w > 34 && d.v !== null ? percent(d.v) : null;
                return word
                  ? [
                      rect,
                      {
                        type: "text",
                        x: (x1 + x2) / 2,
                        y: (y1 + y2) / 2,
                        style: {
                          text: word,
                          fill: d.v > 0.4 ? c("heat-ink") : c("ink"),
                          fontSize: 11,
                          align: "center",
                          verticalAlign: "middle",
                        },
                      },
                    ]
                  : [rect];
              },
              3,
            ),
          ],
        };
      },
      tip: (i) =>
        KINDS.map(([key, name]) => [
          name,
          is(page.layers[i][key])
            ? percent(page.layers[i][key])
            : `no ${key === "dead_fraction" ? "ReLU-like" : "bounded"} activation`,
        ]),
      table: () => ({
        rows: page.layers.map((l, i) => ({
          i: i + 1,
          name: l.name,
          saturated: l.saturated_fraction ?? null,
          dead: l.dead_fraction ?? null,
          square: l.slope_mean_square ?? null,
        })),
        columns: [
          { key: "i", name: "#", show: (v) => String(v) },
          { key: "name", name: "layer", text: true, copy: true },
          { key: "saturated", name: "saturated", show: (v) => percent(v) },
          { key: "dead", name: "dead", show: (v) => percent(v) },
          { key: "square", name: "mean of \u03c6\u2032\u00b2", show: (v) => (is(v) ? v.toPrecision(3) : "\u2013") },
        ],
      }),
    });
    return [h("p", { class: "legend" }, "0\u2009%", h("i", { class: "ramp" }), "100\u2009%"), chart.figure];
  },
};
