// The formulas behind the numbers.
import { formula, h } from "../dom.js";

const LIST = [
  [
    "\u039b, the decision quantity",
    ["lambda"],
    "h is what a layer puts out, g the gradient of the loss by it, y what the loss is " +
      "taken from; s is 1 for cross-entropies and the deviation of the targets for mse and " +
      "l1. Unchanged when the loss is multiplied or a unit is scaled up here and down in " +
      "the next layer.",
  ],
  ["ln gain of a layer", ["gain"], "Norms over the whole batch. The factors add up to it exactly."],
  [
    "factors",
    ["edges", "share"],
    "b is what an edge from operator v gives to the gradient at the tensor t, \u03c0 the " +
      "weight that has arrived there from the layer\u2019s input, parting by q at every " +
      "fork.",
  ],
  ["skip", ["skip"], "What joining paths adds; 0 where nothing forks."],
  [
    "slope in a plain layer",
    ["slope"],
    "The root mean square of the activation\u2019s slope, weighted by the gradient that meets it.",
  ],
  [
    "theory",
    ["chi", "length"],
    "Mean-field theory of wide random networks (Schoenholz et al. 2017): variances of " +
      "weights and biases as measured, z standard normal.",
  ],
  ["depth scale, critical line", ["depths", "critical"], ""],
  [
    "paths",
    ["paths"],
    "v is the part of the input\u2019s gradient that came through exactly k branches (Veit et al. 2016).",
  ],
  ["confidence", ["confidence"], "T is ln 1000, s the spread of \u039b over samples and re-drawn weights."],
];

export const definitions = {
  id: "definitions",
  title: "Definitions",
  has: () => true,
  draw: () => [
    h(
      "dl",
      { class: "definitions" },
      LIST.map(([name, list, text]) => [
        h("dt", {}, name),
        h(
          "dd",
          {},
          list.map((f) => h("div", {}, formula(f))),
          text ? h("p", {}, text) : null,
        ),
      ]),
    ),
  ],
};
