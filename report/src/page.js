// What the panels share: the document, the layer that is looked at, and the range of layers that is in view. Charts
// over layers draw what is in view, so that zooming one zooms all.
import { is } from "./format.js";

export const T = Math.log(1000);

export class Page extends EventTarget {
  constructor(doc) {
    super();
    this.doc = doc;
    this.layers = Array.isArray(doc.layers) ? doc.layers : [];
    this.n = this.layers.length;
    this.against = doc.against && Array.isArray(doc.against.layers) ? doc.against : null;
    this.span = Math.max(this.n, this.against ? this.against.layers.length : 0);
    this.at = -1;
    this.selected = -1;
    this.view = [0, Math.max(0, this.span - 1)];
    this.charts = [];
  }

  /** The rule's threshold, as the document gives it. */
  get threshold() {
    const f = (this.doc.verdict.findings || []).find((x) => x.status === "vanishing" || x.status === "exploding");
    return f && is(f.threshold) ? Math.abs(f.threshold) : T;
  }

  say(name) {
    this.dispatchEvent(new Event(name));
  }

  /** The layer under the cursor, in every chart. */
  point(i) {
    const at = Math.max(-1, Math.min(this.n - 1, i));
    if (at === this.at) return;
    this.at = at;
    this.say("point");
  }

  /** The layer whose numbers are shown beside the panels. */
  select(i) {
    this.selected = i;
    this.point(i);
    this.say("select");
  }

  /** Shows layers from..to, both included. */
  show(from, to) {
    const last = this.span - 1;
    let width = Math.max(Math.min(4, last), Math.min(last, to - from));
    let a = Math.max(0, Math.min(last - width, from));
    a = Math.round(a);
    width = Math.round(width);
    if (a === this.view[0] && a + width === this.view[1]) return;
    this.view = [a, a + width];
    this.say("view");
  }

  zoom(by, about = (this.view[0] + this.view[1]) / 2) {
    const [a, b] = this.view;
    const left = (about - a) * by;
    this.show(about - left, about - left + (b - a) * by);
  }

  whole() {
    this.show(0, this.span - 1);
  }

  keep(i) {
    const [a, b] = this.view;
    if (i < a) this.show(i, i + b - a);
    else if (i > b) this.show(i - (b - a), i);
  }

  nameOf(i) {
    return this.layers[i] ? this.layers[i].name : "";
  }
}

const NICE = [1, 2, 5];
/** Runs of layers of one width that cover what is in view, at most `most`; they begin at multiples of the width. */
export function bins(page, most) {
  const [a, b] = page.view;
  let size = 1;
  for (let k = 0; (b - a + 1) / size > most; k++) size = NICE[(k + 1) % 3] * 10 ** Math.floor((k + 1) / 3);
  const list = [];
  for (let from = Math.floor(a / size) * size; from <= b; from += size) {
    list.push({ from, to: Math.min(from + size, page.n) - 1 });
  }
  return { size, list: list.filter((x) => x.to >= x.from) };
}

/** Points of a line over what is in view: where there are many, the least and the greatest of each run, in order. */
export function points(page, values, most = 500) {
  const [a, b] = page.view;
  const last = Math.min(b, values.length - 1);
  if (b - a + 1 <= most) {
    const out = [];
    for (let i = a; i <= last; i++) out.push([i, is(values[i]) ? values[i] : null]);
    return out;
  }
  const step = Math.ceil((b - a + 1) / (most / 2));
  const out = [];
  for (let i = a; i <= last; i += step) {
    let low = -1;
    let high = -1;
    let hole = -1;
    for (let k = i; k < Math.min(i + step, last + 1); k++) {
      if (!is(values[k])) hole = k;
      else {
        if (low < 0 || values[k] < values[low]) low = k;
        if (high < 0 || values[k] > values[high]) high = k;
      }
    }
    const at = [...new Set([low, high, hole].filter((k) => k >= 0))].sort((x, y) => x - y);
    for (const k of at) out.push([k, is(values[k]) ? values[k] : null]);
  }
  return out;
}

/** Runs of layers without a number: [first, last]. */
export function gaps(values) {
  const out = [];
  values.forEach((v, i) => {
    if (is(v)) return;
    const run = out[out.length - 1];
    if (run && run[1] === i - 1) run[1] = i;
    else out.push([i, i]);
  });
  return out;
}
