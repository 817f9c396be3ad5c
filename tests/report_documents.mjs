// Documents of `chainrule diagnose --json` that no small model gives: of any number of layers, with every part
// filled, or with parts that are null. Numbers are of a fixed sequence, so that a failure can be looked at again.
function numbers(seed) {
  let s = seed >>> 0;
  return () => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    return s / 2 ** 32;
  };
}

/** n layers of a tanh network with skips; drift: ln gain of a layer. Layers of `zero` have null where it says. */
export function synthetic(n, { drift = -0.4, zero = [], seed = 1, status = "vanishing" } = {}) {
  const next = numbers(seed);
  const spread = (x) => (next() - 0.5) * 2 * x;
  const layers = [];
  let lambda = drift * (n - 1);
  for (let i = 0; i < n; i++) {
    const name = `/blocks.${i}/linear/Gemm`;
    const without = zero.includes(i);
    const factors = {
      slope: drift * 0.8 + spread(0.1),
      weight: drift * 0.4 + spread(0.3),
      norm: 0,
      skip: i % 4 === 3 ? 0.3 + spread(0.1) : 0,
      rest: spread(0.02),
    };
    const gain = Object.values(factors).reduce((a, b) => a + b, 0);
    const theory = drift + spread(0.03);
    layers.push({
      name,
      op: "Gemm",
      lambda: without ? null : lambda,
      log10_cotangent_in: without ? null : lambda / 2.302585 - 1,
      log10_cotangent_out: without ? null : lambda / 2.302585 - 0.8,
      ln_gain: without ? null : gain,
      factors: without ? { slope: null, weight: null, norm: null, skip: null, rest: null } : factors,
      slope_mean_square: 0.2 + next() * 0.3,
      saturated_fraction: next() * 0.7,
      dead_fraction: i % 3 === 0 ? next() * 0.4 : null,
      activation: { mean: spread(0.2), std: 0.4 + next() * 0.2 },
      parameters: [`blocks.${i}.weight`],
      gradients: [
        {
          parameter: `blocks.${i}.weight`,
          log10_norm: without ? null : lambda / 2.302585 - 1,
          log10_weight_norm: 0.7 + spread(0.2),
          cosine: spread(0.1),
        },
      ],
      zero_because: without ? "dead" : null,
      theory: {
        ln_gain: theory,
        low: theory - 0.35,
        high: theory + 0.35,
        weight_variance: 1.4 + spread(0.5),
        bias_variance: 0.04 + next() * 0.05,
        length: 0.3,
        chi: Math.exp(2 * theory),
        activation: "Tanh",
      },
      spectrum: {
        largest: 10 ** (0.3 + spread(0.1)),
        smallest: 10 ** (-2 + spread(0.3)),
        quantiles: [-1.4, -0.6, -0.2 + spread(0.05), 0.05, 0.2],
      },
    });
    lambda -= gain;
  }
  const nodes = [{ name: "x", op: "Input", layer: null }];
  const edges = [];
  let tail = 0;
  let fork = 0;
  for (let i = 0; i < n; i++) {
    const flow = layers[i].log10_cotangent_out;
    nodes.push({ name: layers[i].name, op: "Gemm", layer: i }, { name: `/blocks.${i}/Tanh`, op: "Tanh", layer: i });
    edges.push(
      { from: tail, to: nodes.length - 2, tensor: `t${i}`, log10_cotangent: flow },
      { from: nodes.length - 2, to: nodes.length - 1, tensor: `s${i}`, log10_cotangent: flow },
    );
    tail = nodes.length - 1;
    if (i % 4 === 3) {
      nodes.push({ name: `/blocks.${i}/Add`, op: "Add", layer: i });
      edges.push(
        { from: tail, to: nodes.length - 1, tensor: `b${i}`, log10_cotangent: flow },
        { from: fork, to: nodes.length - 1, tensor: `f${i}`, log10_cotangent: flow },
      );
      tail = nodes.length - 1;
      fork = tail;
    }
  }
  nodes.push({ name: "loss", op: "Loss", layer: null });
  edges.push({ from: tail, to: nodes.length - 1, tensor: "y", log10_cotangent: -0.3 });
  const known = layers.map((l) => l.lambda).filter((v) => v !== null);
  const share = Array.from({ length: 21 }, (_, k) => binomial(20, k) * 0.2 ** k * 0.8 ** (20 - k));
  return {
    schema: "chainrule.diagnose/1",
    version: "0.1.0",
    command: "diagnose",
    inputs: {},
    model: { file: `synthetic-${n}.onnx`, inputs: 1, parameters: 2 * n, layers: n },
    verdict: {
      status,
      sentence:
        `Vanishing: the gradient vanishes towards the input: at "${layers[0].name}" its ` +
        `effect on the loss is 10^-9.7 of that at the output.`,
      confidence: 0.93,
      lambda_low: Math.min(...known),
      lambda_high: Math.max(...known),
      findings: [
        {
          status,
          text: "the gradient vanishes towards the input",
          where: layers[0].name,
          value: Math.min(...known),
          threshold: Math.log(1000),
        },
        {
          status: "saturated",
          text: `half of the entries of "${layers[1 % n].name}" lie on the flat part`,
          where: layers[1 % n].name,
          value: 0.61,
          threshold: 0.5,
        },
      ],
      evidence: [
        {
          quantity: "lambda_low",
          value: Math.min(...known),
          threshold: -Math.log(1000),
          source: "own experiment, docs/flow.md",
          where: layers[0].name,
          text: "least effect on the loss",
        },
        {
          quantity: "saturated_fraction",
          value: 0.61,
          threshold: 0.5,
          source: "shared/flow.md",
          where: layers[1 % n].name,
          text: "entries on the flat part",
        },
      ],
    },
    data: { samples: 512, batch: 512, source: "file" },
    loss: { kind: "ce", value: 2.31, said: "cross-entropy of the logits `y`" },
    modes: { batch_norm: null, dropout: null, loss_scale: 1 },
    closed_gates: [],
    export: [{ kind: "fused", text: "4 batch norms were fused into convolutions by the exporter" }],
    weights_state: {
      state: "initialisation",
      evidence: [{ text: "the weights of 30 of 30 layers are uniform within 1/sqrt(fan-in)", fits: true }],
    },
    theory: {
      applies: true,
      said: "Weights are at initialisation: the theory is a prediction.",
      depth_scales: { gradient: 2.5, correlation: 6.8, length: 1.8 },
      critical: [
        {
          activation: "Tanh",
          curve: Array.from({ length: 40 }, (_, k) => [0.005 * k, 1 + 4.2 * Math.sqrt(0.005 * k) * 0.9]),
        },
      ],
    },
    spectrum: {
      log10_largest: 0.8,
      log10_smallest: -6.2,
      quantiles: [-5, -3.1, -1.2, -0.4, 0.5],
      exact: true,
      said: "The whole Jacobian, decomposed.",
    },
    paths: {
      blocks: 20,
      exact: true,
      share,
      energy: share.map((s) => s * 3),
      error: share.map(() => 0.004),
      remainder: 0,
      effective_depth: 4,
      said: "Exact: all paths are counted.",
    },
    number_format: {
      float32: { log10_smallest_scale: -30, log10_largest_scale: 36, fails_at: null },
      float16: { log10_smallest_scale: 3.2, log10_largest_scale: 4.5, fails_at: layers[Math.floor(n / 3)].name },
      bfloat16: { log10_smallest_scale: -28, log10_largest_scale: 36, fails_at: null },
    },
    shattering: { cosine: 0.18, input_cosine: 0.95, theory: 0.2, pairs: 64 },
    balance: { spread: 8.2 },
    thresholds: [
      { quantity: "lambda", value: Math.log(1000), source: "own experiment, docs/flow.md" },
      { quantity: "saturated_fraction", value: 0.5, source: "shared/flow.md" },
    ],
    history: [0, 1, 2, 3].map((k) => ({
      checkpoint: `epoch-${k}.safetensors`,
      status: k < 2 ? "vanishing" : "healthy",
      lambda: layers.map((l) => (l.lambda === null ? null : l.lambda * (1 - 0.28 * k))),
    })),
    layers,
    graph: { nodes, edges },
  };
}

function binomial(n, k) {
  let r = 1;
  for (let i = 1; i <= k; i++) r = (r * (n - k + i)) / i;
  return r;
}

/** A page of chainrule with another document in it. */
export function withDocument(page, doc) {
  const open = '<script type="application/json" id="document">';
  const from = page.indexOf(open) + open.length;
  const to = page.indexOf("</script>", from);
  return page.slice(0, from) + JSON.stringify(doc).replaceAll("<", "\\u003c") + page.slice(to);
}
