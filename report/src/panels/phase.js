// The phase plane of mean-field theory: variance of the biases across, of the weights up, each layer a dot.
import { axis, chart, font, shapes } from "../chart.js";
import { formula, h } from "../dom.js";
import { is, num } from "../format.js";

const SHAPES = ["solid", "dashed", "dotted"];

export const phase = {
  id: "phase",
  title: "Phase plane",
  part: "theory",
  quiet: true,
  has: (page) => page.layers.some((l) => l.theory && is(l.theory.weight_variance)),
  lead: () =>
    h(
      "p",
      {},
      "Below a critical line gradients of wide networks vanish with depth, above it they explode; on it ",
      formula("critical"),
      ". Dots are layers, darker towards the loss.",
    ),
  draw(page) {
    const dots = page.layers
      .map((l, i) => ({ i, t: l.theory }))
      .filter(({ t }) => t && is(t.weight_variance) && is(t.bias_variance));
    const curves = ((page.doc.theory || {}).critical || []).filter((k) => Array.isArray(k.curve) && k.curve.length);
    const xs = [...dots.map((d) => d.t.bias_variance)];
    const ys = [...dots.map((d) => d.t.weight_variance)];
    const top = (list) => list.reduce((a, b) => Math.max(a, b), 0);
    // As much of the lines as lies by the layers, not all that was computed.
    let right = Math.max(top(xs) * 1.3, 0.1);
    const near = curves.flatMap((k) => k.curve.filter((p) => p[0] <= right).map((p) => p[1]));
    const high = Math.max(top(ys), Math.min(top(near), top(ys) * 3 || top(near))) * 1.15 || 1;
    right = Number(right.toPrecision(2));
    const seen = new Map(); // dots that would cover each other are one
    const self = chart(page, {
      name: "phase",
      label: "Phase plane: variance of biases across, of weights up, a dot for each layer",
      height: 380,
      option(c, width) {
        seen.clear();
        for (const d of dots) {
          const cell = [(d.t.bias_variance / right) * 160, (d.t.weight_variance / high) * 110];
          const key = cell.map(Math.round).join(" ");
          if (!seen.has(key)) seen.set(key, { ...d, same: 0 });
          seen.get(key).same++;
        }
        return {
          grid: { left: 64, right: 22, bottom: 44 },
          xAxis: axis(c, {
            min: 0,
            max: right,
            name: "\u03c3b\u00b2, variance of the biases",
            nameLocation: "middle",
            nameGap: 28,
            axisLabel: { showMaxLabel: false, formatter: (v) => num(v, right < 0.3 ? 3 : 2) },
          }),
          yAxis: axis(c, {
            min: 0,
            max: Number(high.toPrecision(2)),
            name: "\u03c3w\u00b2, fan-in \u00d7 variance of the weights",
            nameLocation: "end",
            nameGap: 8,
            nameTextStyle: { align: "left", padding: [0, 0, 0, -50], color: c("muted"), fontSize: 11.5 },
            axisLabel: { showMaxLabel: false, formatter: (v) => num(v, high < 1 ? 2 : 1) },
          }),
          series: [
            ...curves.map((k, n) => ({
              id: `critical ${k.activation}`,
              type: "line",
              data: k.curve,
              showSymbol: false,
              silent: true,
              clip: true,
              lineStyle: { color: c("ink"), width: 1.6, type: SHAPES[n % 3] },
            })),
            shapes(
              "names",
              curves,
              (px, k, area) => {
                const inside = k.curve.filter((p) => p[0] <= right && p[1] <= high);
                if (!inside.length) return null;
                const [x, y] = px(...inside[inside.length - 1]);
                return [
                  {
                    type: "text",
                    x: Math.min(x, area.x + area.width) - 6,
                    y: y - 4,
                    style: {
                      text: `critical, ${k.activation}`,
                      fill: c("ink"),
                      fontSize: 11,
                      fontFamily: font(),
                      align: "right",
                      verticalAlign: "bottom",
                    },
                  },
                ];
              },
              3,
            ),
            shapes(
              "layers",
              [...seen.values()],
              (px, d) => {
                const [x, y] = px(d.t.bias_variance, d.t.weight_variance);
                return [
                  {
                    type: "circle",
                    shape: { cx: x, cy: y, r: Math.min(9, 4.5 + Math.log2(d.same) / 2) },
                    style: {
                      fill: c("accent"),
                      opacity: 0.3 + 0.65 * (d.i / Math.max(1, page.n - 1)),
                      stroke: c("card"),
                      lineWidth: 1,
                    },
                  },
                ];
              },
              5,
            ),
          ],
        };
      },
      table: () => ({
        rows: dots.map((d) => ({
          i: d.i + 1,
          name: page.nameOf(d.i),
          sb: d.t.bias_variance,
          sw: d.t.weight_variance,
          activation: d.t.activation ?? null,
        })),
        columns: [
          { key: "i", name: "#", show: (v) => String(v) },
          { key: "name", name: "layer", text: true, copy: true },
          { key: "sb", name: "\u03c3b\u00b2", show: (v) => num(v, 4) },
          { key: "sw", name: "\u03c3w\u00b2", show: (v) => num(v, 4) },
          { key: "activation", name: "activation", text: true },
        ],
      }),
    });
    // Under the pointer: the nearest layer.
    self.box.addEventListener("pointermove", (e) => {
      if (!self.instance) return;
      const r = self.box.getBoundingClientRect();
      let best = -1;
      let least = 20 ** 2;
      for (const d of dots) {
        const [x, y] = self.instance.convertToPixel({ xAxisIndex: 0, yAxisIndex: 0 }, [
          d.t.bias_variance,
          d.t.weight_variance,
        ]);
        const far = (x - (e.clientX - r.left)) ** 2 + (y - (e.clientY - r.top)) ** 2;
        if (far < least) [least, best] = [far, d.i];
      }
      page.point(best >= 0 ? best : page.selected);
    });
    self.box.addEventListener("click", () => page.at >= 0 && page.select(page.at));
    const said = h("p", { class: "note" }, "\u00a0");
    page.addEventListener("point", () => {
      const t = page.at >= 0 && page.layers[page.at].theory;
      said.textContent =
        t && is(t.weight_variance)
          ? `${page.at + 1} ${page.nameOf(page.at)}: \u03c3b\u00b2 ${num(t.bias_variance, 4)}, ` +
            `\u03c3w\u00b2 ${num(t.weight_variance, 4)}`
          : "\u00a0";
    });
    return [self.figure, said];
  },
};
