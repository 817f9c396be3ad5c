// Charts. Apache ECharts draws them as SVG, so that they stay sharp on paper and what is drawn can be read back. What a
// chart over layers has besides (cursor, keys, zoom, a table of its numbers) is the same for all, and is here.
import * as echarts from "echarts/core";
import { CustomChart, LineChart } from "echarts/charts";
import { GridComponent } from "echarts/components";
import { SVGRenderer } from "echarts/renderers";
import { h } from "./dom.js";
import { count, tail } from "./format.js";
import { table } from "./table.js";

echarts.use([CustomChart, LineChart, GridComponent, SVGRenderer]);

const GRID = { left: 58, right: 18, top: 22, bottom: 40, outerBoundsMode: "none" };
let counter = 0;

/** Colours of the theme in force, by the names in style.css. */
export function colours() {
  const css = getComputedStyle(document.documentElement);
  return (name) => css.getPropertyValue(`--${name}`).trim();
}

export const font = () => getComputedStyle(document.body).fontFamily;

const text = (c) => ({ color: c("muted"), fontSize: 11.5, fontFamily: font() });

export function axis(c, more) {
  return {
    type: "value",
    axisLine: { onZero: false, lineStyle: { color: c("line-strong") } },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: c("line") } },
    axisLabel: { ...text(c), ...(more.axisLabel || {}) },
    nameTextStyle: text(c),
    ...Object.fromEntries(Object.entries(more).filter(([k]) => k !== "axisLabel")),
  };
}

/** A series that draws shapes: draw(api-like to pixel, item) gives zrender elements; clipped to the grid. */
export function shapes(id, items, draw, z = 2) {
  return {
    id,
    type: "custom",
    coordinateSystem: "cartesian2d",
    data: items.map((_, i) => [i]),
    clip: true,
    silent: true,
    z,
    animation: false,
    renderItem(params, api) {
      const item = items[params.dataIndex];
      const area = params.coordSys;
      const children = draw((x, y) => api.coord([x, y]), item, area);
      return children ? { type: "group", children: [].concat(children) } : null;
    },
  };
}

/** Horizontal lines with a label at the right end: {y, label, colour, dash}. Two series: labels lie on top of data. */
export function rules(c, list) {
  const place = (px, r, area) => {
    const y = px(0, r.y)[1];
    return y < area.y - 1 || y > area.y + area.height + 1 ? null : y;
  };
  const lines = shapes(
    "rules",
    list,
    (px, r, area) => {
      const y = place(px, r, area);
      if (y === null) return null;
      return {
        type: "line",
        shape: { x1: area.x, x2: area.x + area.width, y1: y, y2: y },
        style: { stroke: r.colour, lineWidth: 1, lineDash: r.dash || [4, 3] },
      };
    },
    1,
  );
  const labels = shapes(
    "rule labels",
    list,
    (px, r, area) => {
      const y = place(px, r, area);
      if (y === null) return null;
      const below = r.below ? y < area.y + area.height - 16 : y < area.y + 16;
      const style = { text: r.label, fill: r.colour, fontSize: 11, fontFamily: font(), align: "right" };
      return {
        type: "text",
        x: area.x + area.width - 4,
        y: below ? y + 2 : y - 2,
        style: { ...style, verticalAlign: below ? "top" : "bottom", stroke: c("card"), lineWidth: 3 },
      };
    },
    7,
  );
  return [lines, labels];
}

/** Vertical lines with a label at the top: {x, label, colour}. */
export function marks(c, list) {
  return shapes(
    "marks",
    list,
    (px, r, area) => {
      const x = px(r.x, 0)[0];
      if (x < area.x - 1 || x > area.x + area.width + 1) return null;
      const right = x > area.x + area.width * 0.75;
      return [
        {
          type: "line",
          shape: { x1: x, x2: x, y1: area.y, y2: area.y + area.height },
          style: { stroke: r.colour, lineWidth: 1, lineDash: [2, 3] },
        },
        {
          type: "text",
          x: right ? x - 4 : x + 4,
          y: area.y + 3 + 14 * (r.row || 0),
          style: {
            text: r.label,
            fill: r.colour,
            fontSize: 11,
            fontFamily: font(),
            align: right ? "right" : "left",
            verticalAlign: "top",
            backgroundColor: c("card"),
            padding: [2, 3],
          },
        },
      ];
    },
    6,
  );
}

/** Runs without numbers, hatched and labelled: {from, to, label}. */
export function holes(c, list) {
  return shapes(
    "gaps",
    list,
    (px, g, area) => {
      const x1 = Math.max(area.x, px(g.from - 0.5, 0)[0]);
      const x2 = Math.min(area.x + area.width, px(g.to + 0.5, 0)[0]);
      if (x2 <= x1) return null;
      const lines = [];
      for (let x = x1 - area.height; x < x2; x += 7) {
        const [a, b] = [Math.max(x, x1), Math.min(x + area.height, x2)];
        if (b > a) {
          lines.push({
            type: "line",
            shape: { x1: a, y1: area.y + area.height - (a - x), x2: b, y2: area.y + area.height - (b - x) },
            style: { stroke: c("hatch"), lineWidth: 1 },
          });
        }
      }
      const wide = x2 - x1 > 26;
      return [
        { type: "rect", shape: { x: x1, y: area.y, width: x2 - x1, height: area.height }, style: { fill: c("gap") } },
        ...lines.slice(0, 400),
        {
          type: "text",
          x: (x1 + x2) / 2,
          y: area.y + area.height - (wide ? 14 : 40),
          rotation: wide ? 0 : Math.PI / 2,
          style: {
            text: g.label,
            fill: c("ink"),
            fontSize: 11,
            fontFamily: font(),
            align: "center",
            verticalAlign: "middle",
            backgroundColor: c("card"),
            padding: [2, 5],
            borderRadius: 3,
          },
        },
      ];
    },
    4,
  );
}

/** A chart in a figure with its numbers as a table behind it. spec.option(c) gives {xAxis, yAxis, series, grid?}. */
export function chart(page, spec) {
  const box = h("div", { class: "chart", style: `height:${spec.height}px` });
  const figure = h("figure", { class: "figure", "data-chart": spec.name });
  figure.append(box);
  if (spec.table) figure.append(numbers(spec));
  let instance = null;
  let visible = false;
  let stale = true;
  const self = {
    name: spec.name,
    spec,
    figure,
    box,
    get instance() {
      return instance;
    },
    draw() {
      stale = false;
      if (!instance) {
        instance = echarts.init(box, null, { renderer: "svg" });
        if (spec.started) spec.started(self);
      }
      const c = colours();
      const option = spec.option(c, box.clientWidth);
      instance.setOption(
        { ...option, animation: false, grid: { ...GRID, ...option.grid }, textStyle: { fontFamily: font() } },
        { notMerge: true },
      );
      const drawn = box.querySelector("svg");
      if (drawn) {
        drawn.setAttribute("aria-hidden", "true");
        drawn.setAttribute("focusable", "false");
      }
      if (spec.drawn) spec.drawn(self);
    },
    refresh() {
      stale = true;
      if (visible) self.draw();
    },
    settle() {
      if (stale) self.draw();
    },
    resize() {
      if (instance && box.clientWidth) {
        instance.resize();
        self.draw();
      }
    },
  };
  if (!spec.keys) {
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", spec.label);
  }
  // What is out of sight is drawn when it comes near.
  new IntersectionObserver(
    (entries) => {
      visible = entries[entries.length - 1].isIntersecting;
      if (visible) self.settle();
    },
    { rootMargin: "600px 0px" },
  ).observe(figure);
  let width = 0;
  new ResizeObserver(() => {
    if (box.clientWidth === width) return;
    width = box.clientWidth;
    if (visible) self.resize();
    else stale = true;
  }).observe(box);
  page.charts.push(self);
  return self;
}

function numbers(spec) {
  const more = h("details", { class: "numbers" }, h("summary", {}, "The numbers as a table"));
  more.addEventListener("toggle", () => {
    if (more.open && more.childElementCount === 1) more.append(table(spec.table()));
  });
  return more;
}

/** A chart whose x axis is the layers: cursor, keys, zoom. Besides what chart() takes, spec.tip(i) gives the lines
 * [label, text] about layer i. */
export function layerChart(page, spec) {
  const id = `hint-${++counter}`;
  const cross = h("div", { class: "cross", hidden: true });
  const tip = h("div", { class: "tip", hidden: true });
  const brush = h("div", { class: "brush", hidden: true });
  const full = {
    ...spec,
    keys: true,
    option(c, width) {
      const o = spec.option(c, width);
      return { ...o, xAxis: layerAxis(page, c, width) };
    },
    drawn(self) {
      place();
      if (spec.drawn) spec.drawn(self);
    },
  };
  const self = chart(page, full);
  const { box } = self;
  box.append(cross, brush, tip);
  box.tabIndex = 0;
  box.setAttribute("role", "slider");
  box.setAttribute("aria-label", `${spec.label}. Layer under the cursor`);
  box.setAttribute("aria-valuemin", "1");
  box.setAttribute("aria-valuemax", String(page.n));
  box.setAttribute("aria-describedby", id);
  box.append(
    h(
      "span",
      { id, class: "hidden" },
      "Arrow keys move along the layers, Enter shows all numbers of a layer, plus and minus zoom, 0 shows all layers.",
    ),
  );

  const inside = (e) => {
    const r = box.getBoundingClientRect();
    return [e.clientX - r.left, e.clientY - r.top];
  };
  const layerAt = (x) => {
    if (!self.instance) return -1;
    const at = self.instance.convertFromPixel({ xAxisIndex: 0 }, x);
    return Math.max(0, Math.min(page.n - 1, Math.round(at)));
  };

  function place() {
    const i = page.at;
    box.setAttribute("aria-valuenow", String(Math.max(0, i) + 1));
    const shown = i >= 0 && self.instance && i >= page.view[0] && i <= page.view[1];
    cross.hidden = !shown;
    const here = shown && (box.matches(":hover") || document.activeElement === box);
    tip.hidden = !here;
    if (i >= 0)
      box.setAttribute(
        "aria-valuetext",
        [`layer ${i + 1}, ${page.nameOf(i)}`, ...spec.tip(i).map(([a, b]) => `${a} ${b}`)].join(", "),
      );
    if (!shown) return;
    const x = self.instance.convertToPixel({ xAxisIndex: 0 }, i);
    cross.style.left = `${x}px`;
    if (!here) return;
    tip.replaceChildren(
      h("div", { class: "tip-name" }, h("b", {}, count(i + 1)), " ", tail(page.nameOf(i), 60)),
      h(
        "dl",
        {},
        spec.tip(i).map(([a, b]) => [h("dt", {}, a), h("dd", {}, b)]),
      ),
    );
    const w = tip.offsetWidth;
    tip.style.left = `${x + 12 + w > box.clientWidth ? Math.max(0, x - 12 - w) : x + 12}px`;
  }
  page.addEventListener("point", place);
  page.addEventListener("view", () => self.refresh());
  box.addEventListener("focus", () => {
    if (page.at < 0) page.point(page.view[0]);
    else place();
  });
  box.addEventListener("blur", place);

  // The pointer: move to look, click for a layer's numbers, drag to zoom in, double click for all.
  let from = null;
  box.addEventListener("pointermove", (e) => {
    const [x] = inside(e);
    if (from !== null && Math.abs(x - from) > 6 && e.pointerType === "mouse") {
      brush.hidden = false;
      brush.style.left = `${Math.min(x, from)}px`;
      brush.style.width = `${Math.abs(x - from)}px`;
    }
    page.point(layerAt(x));
  });
  box.addEventListener("pointerleave", () => {
    tip.hidden = true;
    if (from === null && page.selected < 0) page.point(-1);
    else if (from === null) page.point(page.selected);
  });
  box.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    [from] = inside(e);
    if (e.pointerType === "mouse") box.setPointerCapture(e.pointerId);
  });
  box.addEventListener("pointerup", (e) => {
    const [x] = inside(e);
    const dragged = !brush.hidden;
    brush.hidden = true;
    if (from === null) return;
    const [a, b] = [layerAt(Math.min(from, x)), layerAt(Math.max(from, x))];
    from = null;
    if (dragged) page.show(a, b);
    else page.select(layerAt(x));
  });
  box.addEventListener("pointercancel", () => {
    from = null;
    brush.hidden = true;
  });
  box.addEventListener("dblclick", () => page.whole());
  box.addEventListener(
    "wheel",
    (e) => {
      if (!e.ctrlKey && !e.metaKey) return;
      e.preventDefault();
      page.zoom(e.deltaY > 0 ? 1.25 : 0.8, layerAt(inside(e)[0]));
    },
    { passive: false },
  );
  box.addEventListener("keydown", (e) => {
    const far = Math.max(1, Math.round((page.view[1] - page.view[0]) / 10));
    const to = {
      ArrowLeft: page.at - 1,
      ArrowDown: page.at - 1,
      ArrowRight: page.at + 1,
      ArrowUp: page.at + 1,
      PageUp: page.at + far,
      PageDown: page.at - far,
      Home: 0,
      End: page.n - 1,
    }[e.key];
    if (to !== undefined) {
      page.point(Math.max(0, Math.min(page.n - 1, to)));
      page.keep(page.at);
    } else if (e.key === "Enter" || e.key === " ") page.select(page.at);
    else if (e.key === "+" || e.key === "=") page.zoom(0.5, page.at);
    else if (e.key === "-") page.zoom(2, page.at);
    else if (e.key === "0") page.whole();
    else return;
    e.preventDefault();
  });
  return self;
}

/** The x axis of layers: their names where there is room, else their numbers. */
function layerAxis(page, c, width) {
  const [a, b] = page.view;
  const each = (width - GRID.left - GRID.right) / (b - a + 1);
  const named = each > 62;
  const room = Math.floor(each / 6.2);
  return axis(c, {
    min: a - 0.5,
    max: b + 0.5,
    interval: named ? 1 : undefined,
    minInterval: 1,
    name: named ? "" : "layer, from the input to the loss",
    nameLocation: "middle",
    nameGap: 24,
    splitLine: { show: false },
    axisLabel: {
      customValues: ticks(a, b, named ? 1 : 46 / each),
      formatter: (v) => (named ? tail(page.nameOf(v) || String(v + 1), room) : count(v + 1)),
    },
  });
}

// Layers are counted from 1: ticks stand at 1, 10, 20, ...
function ticks(a, b, least) {
  let step = 1;
  for (let k = 0; step < least; k++) step = [1, 2, 5][(k + 1) % 3] * 10 ** Math.floor((k + 1) / 3);
  const out = [];
  for (let i = a; i <= b; i++) if (step === 1 || (i + 1) % step === 0 || i === 0) out.push(i);
  return out;
}
