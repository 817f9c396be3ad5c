// How much of the gradient comes through how many branches.
import { axis, chart, shapes } from "../chart.js";
import { formula, h } from "../dom.js";
import { is, num, percent } from "../format.js";

export const paths = {
  id: "paths",
  title: "Paths through the skips",
  nav: "Paths",
  part: "paths",
  lead: () =>
    h(
      "p",
      {},
      "With skips, the gradient is a sum over paths, through each block or past it. ",
      formula("paths"),
      ": what came through exactly k blocks. A share may be below 0, where paths work " +
        "against each other; all add up to 1.",
    ),
  draw(page) {
    const p = page.doc.paths;
    const share = Array.isArray(p.share) ? p.share : [];
    const facts = h(
      "dl",
      { class: "facts row" },
      is(p.blocks) ? h("div", {}, h("dt", {}, "blocks with a skip"), h("dd", {}, String(p.blocks))) : null,
      is(p.effective_depth)
        ? h("div", {}, h("dt", {}, "effective depth"), h("dd", {}, `${num(p.effective_depth, 1)} blocks`))
        : null,
      is(p.remainder) && p.remainder !== 0
        ? h("div", {}, h("dt", {}, "left out (longer paths)"), h("dd", {}, percent(p.remainder)))
        : null,
      h("div", {}, h("dt", {}, "how"), h("dd", {}, p.exact ? "exact" : "truncated or sampled")),
    );
    if (!share.some(is))
      return [
        p.said
          ? h("p", { class: "note" }, p.said)
          : h("p", { class: "quiet" }, "No path through a skip: there is none in this network, or nothing flows."),
        facts,
      ];
    const last = share.reduce((a, v, k) => (is(v) && Math.abs(v) > 1e-4 ? k : a), 0);
    const to = Math.max(4, Math.min(share.length - 1, last + 1));
    const error = (k) => (Array.isArray(p.error) && is(p.error[k]) ? p.error[k] : 0);
    const high = share.reduce((a, v, k) => Math.max(a, (v || 0) + error(k)), 0.05) * 1.12;
    const low = share.reduce((a, v, k) => Math.min(a, (v || 0) - error(k)), 0) * 1.12;
    const bars = share.map((v, k) => ({ k, v })).slice(0, to + 1);
    const self = chart(page, {
      name: "paths",
      label: `Share of the gradient by the number of blocks on the path; effective depth ${num(p.effective_depth, 1)}`,
      height: 260,
      option: (c) => ({
        grid: { left: 64, right: 22 },
        xAxis: axis(c, {
          min: -0.5,
          max: to + 0.5,
          minInterval: 1,
          name: "blocks on the path",
          nameLocation: "middle",
          nameGap: 24,
          splitLine: { show: false },
          axisLabel: { customValues: bars.map((b) => b.k).filter((k) => k % Math.ceil(to / 24) === 0) },
        }),
        yAxis: axis(c, {
          min: low,
          max: high,
          name: "share",
          nameLocation: "end",
          nameGap: 8,
          axisLabel: { showMinLabel: false, showMaxLabel: false, formatter: (v) => `${num(100 * v, 0)}\u2009%` },
        }),
        series: [
          shapes(
            "bars",
            bars,
            (px, b, area) => {
              if (!is(b.v))
                return [
                  {
                    type: "text",
                    x: px(b.k, 0)[0],
                    y: area.y + area.height / 2,
                    rotation: Math.PI / 2,
                    style: {
                      text: "no number",
                      fill: c("muted"),
                      fontSize: 10.5,
                      align: "center",
                      verticalAlign: "middle",
                    },
                  },
                ];
              const x1 = px(b.k - 0.4, 0)[0];
              const x2 = px(b.k + 0.4, 0)[0];
              const y = [px(0, b.v)[1], px(0, 0)[1]];
              const out = [
                {
                  type: "rect",
                  shape: { x: x1, y: Math.min(...y), width: x2 - x1, height: Math.abs(y[0] - y[1]) },
                  style: { fill: c(b.v < 0 ? "high" : "accent") },
                },
              ];
              const e = error(b.k);
              if (e > 0) {
                const x = (x1 + x2) / 2;
                out.push({
                  type: "line",
                  shape: { x1: x, x2: x, y1: px(0, b.v - e)[1], y2: px(0, b.v + e)[1] },
                  style: { stroke: c("ink"), lineWidth: 1.5 },
                });
              }
              return out;
            },
            3,
          ),
          shapes(
            "depth",
            is(p.effective_depth) ? [p.effective_depth] : [],
            (px, x, area) => {
              const [at] = px(x, 0);
              const right = at > area.x + area.width * 0.7;
              return [
                {
                  type: "line",
                  shape: { x1: at, x2: at, y1: area.y, y2: area.y + area.height },
                  style: { stroke: c("ink"), lineWidth: 1, lineDash: [3, 3] },
                },
                {
                  type: "text",
                  x: right ? at - 5 : at + 5,
                  y: area.y + 3,
                  style: {
                    text: `effective depth ${num(x, 1)}`,
                    fill: c("ink"),
                    fontSize: 11,
                    align: right ? "right" : "left",
                    verticalAlign: "top",
                  },
                },
              ];
            },
            4,
          ),
        ],
      }),
      table: () => ({
        rows: share.map((v, k) => ({
          k,
          share: v ?? null,
          energy: p.energy && is(p.energy[k]) ? p.energy[k] : null,
          error: p.error && is(p.error[k]) ? p.error[k] : null,
        })),
        columns: [
          { key: "k", name: "blocks", show: (v) => String(v) },
          { key: "share", name: "share", show: (v) => num(v, 4) },
          { key: "energy", name: "energy", show: (v) => num(v, 4) },
          { key: "error", name: "error of the share", show: (v) => num(v, 4) },
        ],
      }),
    });
    return [facts, self.figure, p.said ? h("p", { class: "note" }, p.said) : null];
  },
};
