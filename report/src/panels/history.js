// Lambda over the layers at each checkpoint.
import { axis, layerChart, rules } from "../chart.js";
import { h } from "../dom.js";
import { is, num, signed, tail } from "../format.js";
import { points } from "../page.js";
import { table } from "../table.js";

export function mix(a, b, f) {
  const [x, y] = [a, b].map((k) => k.match(/\w\w/g).map((v) => parseInt(v, 16)));
  return `rgb(${x.map((k, i) => Math.round(k + (y[i] - k) * f)).join(",")})`;
}

export const history = {
  id: "history",
  title: "Over the checkpoints",
  nav: "History",
  part: "history",
  has: (page) => Array.isArray(page.doc.history) && page.doc.history.length > 0,
  lead: () =>
    h(
      "p",
      {},
      "\u039b over the layers with the weights of each checkpoint, from the first (faint) to the last (strong).",
    ),
  draw(page) {
    const list = page.doc.history.map((x, k) => ({ ...x, checkpoint: x.checkpoint ?? `checkpoint ${k + 1}` }));
    const t = page.threshold;
    const all = list.flatMap((x) => x.lambda || []).filter(is);
    const low = Math.floor(all.reduce((a, b) => Math.min(a, b * 1.06), -t * 1.3));
    const high = Math.ceil(all.reduce((a, b) => Math.max(a, b * 1.06), t * 1.3));
    const chart = layerChart(page, {
      name: "history",
      label: "Lambda over the layers at each checkpoint",
      height: 300,
      option: (c) => ({
        grid: { left: 64, right: 22 },
        yAxis: axis(c, {
          min: low,
          max: high,
          name: "\u039b",
          nameLocation: "end",
          nameGap: 8,
          axisLabel: { showMinLabel: false, showMaxLabel: false, formatter: (v) => num(v, 0) },
        }),
        series: [
          ...rules(c, [
            { y: t, label: "ln 1000", colour: c("high") },
            { y: -t, label: "\u2212ln 1000", colour: c("low"), below: true },
          ]),
          ...list.map((x, k) => ({
            id: `checkpoint ${k}`,
            type: "line",
            data: points(page, x.lambda || [], 300),
            connectNulls: false,
            showSymbol: false,
            silent: true,
            lineStyle: {
              width: k === list.length - 1 ? 2.4 : 1.3,
              color: mix(c("history-0"), c("history-1"), list.length > 1 ? k / (list.length - 1) : 1),
            },
            z: 3 + k,
          })),
        ],
      }),
      tip: (i) =>
        (list.length <= 8 ? list : [list[0], list[Math.floor(list.length / 2)], list[list.length - 1]]).map((x) => [
          tail(String(x.checkpoint), 28),
          is((x.lambda || [])[i]) ? signed(x.lambda[i]) : "no number",
        ]),
    });
    const end = (v, pick) => v.filter(is).reduce((a, b) => (a === null ? b : pick(a, b)), null);
    return [
      chart.figure,
      table({
        caption: "Checkpoints",
        rows: list.map((x, k) => ({
          k: k + 1,
          checkpoint: x.checkpoint,
          status: x.status,
          low: end(x.lambda || [], Math.min),
          high: end(x.lambda || [], Math.max),
        })),
        columns: [
          { key: "k", name: "#", show: (v) => String(v) },
          { key: "checkpoint", name: "checkpoint", text: true, copy: true },
          { key: "status", name: "status", text: true },
          { key: "low", name: "least \u039b" },
          { key: "high", name: "greatest \u039b" },
        ],
        height: 300,
      }),
    ];
  },
};
