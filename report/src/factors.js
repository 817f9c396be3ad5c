// The factors of the chain rule, in the order in which they are drawn.
export const FACTORS = ["slope", "weight", "norm", "skip", "rest"];
export const FACTOR_TEXT = {
  slope: "slopes of activations",
  weight: "products with weights",
  norm: "normalisations",
  skip: "joins of skips",
  rest: "everything else",
};
