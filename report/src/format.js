// Numbers for people. null is never a number: what to say instead is the caller's.
export const MINUS = "\u2212";
export const LN10 = Math.log(10);
export const is = (v) => typeof v === "number" && Number.isFinite(v);

const minus = (s) => s.replace(/^-/, MINUS).replace(/e[+]?/, "e");

/** At most `digits` digits after the point, fewer for large numbers. */
export function num(v, digits = 2, none = "\u2013") {
  if (!is(v)) return none;
  const a = Math.abs(v);
  if (a !== 0 && (a < 10 ** -digits / 2 || a >= 1e6)) return minus(v.toExponential(2));
  return minus(v.toFixed(a >= 1000 ? Math.min(1, digits) : digits));
}

/** The same without powers of ten: a part of a sum that is too small to be seen is 0.00. */
export const fixed = (v, digits = 2, none = "\u2013") =>
  is(v) ? minus(v.toFixed(digits)).replace(/^\u2212(0\.?0*)$/, "$1") : none;
export const signed = (v, digits = 2, none) => (is(v) && v > 0 ? "+" : "") + fixed(v, digits, none);
export const percent = (v, none = "\u2013") =>
  is(v) ? `${num(100 * v, v !== 0 && Math.abs(v) < 0.1 ? 1 : 0)}\u00a0%` : none;
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
export const count = (n) => (is(n) ? String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, "\u2009") : "\u2013");

const SUPERSCRIPT = {
  "-": "\u207b",
  ".": "\u00b7",
  0: "\u2070",
  1: "\u00b9",
  2: "\u00b2",
  3: "\u00b3",
  4: "\u2074",
  5: "\u2075",
  6: "\u2076",
  7: "\u2077",
  8: "\u2078",
  9: "\u2079",
};
/** The number whose logarithm to base 10 this is, as m x 10^k; any size. */
export function ten(log10, none = "\u2013") {
  if (!is(log10)) return none;
  if (Math.abs(log10) < 4) return minus(String(Number((10 ** log10).toPrecision(3))));
  let k = Math.floor(log10);
  let m = (10 ** (log10 - k)).toFixed(1);
  if (m === "10.0") [m, k] = ["1.0", k + 1];
  return `${m}\u2009\u00d7\u200910${[...String(k)].map((c) => SUPERSCRIPT[c]).join("")}`;
}

/** A long name, its end kept: what tells layers apart stands there. */
export const tail = (s, n) => (s.length <= n ? s : `\u2026${s.slice(s.length - n + 1)}`);

const ZERO = {
  dead: "its units are dead",
  closed_gate: "a closed gate (a parameter that is all 0) is in front of it",
  loss_fitted: "the loss is fitted exactly",
  no_path: "no derivative leads to it",
};
/** Why a layer has no number. */
export const because = (layer) =>
  layer.zero_because
    ? `exactly 0: ${ZERO[layer.zero_because] || layer.zero_because}`
    : "no number (null in the document)";
