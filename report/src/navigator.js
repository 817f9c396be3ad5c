// All layers at a glance, and which of them are in view: a strip that stays in sight, for networks of many layers.
import { colours } from "./chart.js";
import { h } from "./dom.js";
import { count, is } from "./format.js";
import { mix } from "./panels/history.js";

const FEW = 24;

export function navigator(page) {
  if (page.n <= FEW) return null;
  const canvas = h("canvas", { class: "map", height: 22, "aria-hidden": "true" });
  const frame = h("div", { class: "frame" });
  const text = h("span", { class: "quiet", role: "status" });
  const track = h("div", { class: "track" }, canvas, frame);
  const button = (label, name, act) =>
    h("button", { type: "button", title: name, "aria-label": name, onclick: act }, label);
  const step = () => Math.max(1, Math.round((page.view[1] - page.view[0]) / 2));
  const bar = h(
    "div",
    { class: "navigator", role: "toolbar", "aria-label": "Layers in view" },
    track,
    h(
      "div",
      { class: "buttons" },
      text,
      button("\u2190", "Earlier layers", () => page.show(page.view[0] - step(), page.view[1] - step())),
      button("\u2192", "Later layers", () => page.show(page.view[0] + step(), page.view[1] + step())),
      button("+", "Zoom in", () => page.zoom(0.5)),
      button("\u2212", "Zoom out", () => page.zoom(2)),
      button("All", "All layers", () => page.whole()),
    ),
  );

  function paint() {
    const width = track.clientWidth;
    if (!width) return;
    canvas.width = width;
    const c = colours();
    const g = canvas.getContext("2d");
    const most = page.layers.reduce((a, l) => Math.max(a, is(l.lambda) ? Math.abs(l.lambda) : 0), page.threshold);
    const per = page.n / width;
    for (let x = 0; x < width; x++) {
      let best = null;
      let some = false;
      for (
        let i = Math.floor(x * per);
        i < Math.max(Math.floor(x * per) + 1, Math.floor((x + 1) * per)) && i < page.n;
        i++
      ) {
        const v = page.layers[i].lambda;
        some = true;
        if (is(v) && (best === null || Math.abs(v) > Math.abs(best))) best = v;
      }
      if (!some) continue;
      g.fillStyle =
        best === null
          ? c("hatch")
          : mix(c("flow-mid"), best < 0 ? c("flow-low") : c("flow-high"), (Math.abs(best) / most) ** 0.7);
      g.fillRect(x, 0, 1, 22);
    }
  }
  function place() {
    const [a, b] = page.view;
    frame.style.left = `${(100 * a) / page.span}%`;
    frame.style.width = `max(8px, ${(100 * (b - a + 1)) / page.span}%)`;
    text.textContent =
      a === 0 && b === page.span - 1
        ? `all ${count(page.n)} layers`
        : `layers ${count(a + 1)}\u2013${count(b + 1)} of ${count(page.n)}`;
  }
  let grip = null;
  const layer = (e) => {
    const r = track.getBoundingClientRect();
    return ((e.clientX - r.left) / r.width) * page.span;
  };
  track.addEventListener("pointerdown", (e) => {
    const at = layer(e);
    const [a, b] = page.view;
    const whole = a === 0 && b === page.span - 1;
    // Within the frame it is moved; elsewhere, or when all is in view, a new one is drawn.
    grip = !whole && at >= a && at <= b + 1 ? { move: at - a } : { from: at };
    track.setPointerCapture(e.pointerId);
  });
  track.addEventListener("pointermove", (e) => {
    if (!grip) return;
    const at = layer(e);
    const [a, b] = page.view;
    if (grip.move !== undefined) page.show(at - grip.move, at - grip.move + b - a);
    else if (Math.abs(at - grip.from) > page.span / 200) page.show(Math.min(at, grip.from), Math.max(at, grip.from));
  });
  track.addEventListener("pointerup", () => (grip = null));
  track.addEventListener("pointercancel", () => (grip = null));
  track.addEventListener("dblclick", () => page.whole());
  page.addEventListener("view", place);
  page.addEventListener("theme", paint);
  new ResizeObserver(paint).observe(track);
  place();
  return bar;
}
