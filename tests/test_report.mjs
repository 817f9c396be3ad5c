// The page of `chainrule diagnose --html` in a real browser: what is drawn is what the document says, in both themes,
// from the keyboard, on paper, for ten thousand layers, and nothing is asked of a network.
//
//     CHAINRULE=build/chainrule node tests/test_report.mjs [WORD]      (only checks whose name has WORD)
//
// Without a browser it is skipped, and fails where CI is set.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  affine,
  browser,
  cells,
  chainrule,
  close,
  diagnose,
  drawn,
  executablePath,
  folder,
  models,
  open,
  opened,
  pageOf,
  pieces,
  real,
  template,
  text,
  unfold,
} from "./report_browser.mjs";
import { synthetic } from "./report_documents.mjs";

const FACTORS = ["slope", "weight", "norm", "skip", "rest"];

// ---- checks --------------------------------------------------------------------------------------

const checks = {
  async "the page holds the document of --json"() {
    const page = await open(real.html);
    assert.deepEqual(await page.evaluate(() => window.chainrule.document), real.doc);
    assert.equal(await page.textContent(".verdict .sentence"), real.doc.verdict.sentence);
    assert.match(await page.textContent(".verdict .badge"), /Vanishing/);
    await close(page);
  },

  async "one file, of a size to send"() {
    assert.ok(template.length < 1.5e6, `${template.length} bytes`);
    assert.doesNotMatch(template.replace(/<script type="application\/json"[^]*?<\/script>/, ""), /(src|href)="https?:/);
  },

  async "the table of all layers is the document"() {
    const page = await open(real.html);
    const rows = await cells(page, "#everything");
    assert.equal(rows.length, real.doc.layers.length);
    real.doc.layers.forEach((l, i) => {
      const want = { i: i + 1, name: l.name, op: l.op, lambda: l.lambda, gain: l.ln_gain, into: l.log10_cotangent_in };
      Object.assign(want, l.factors, {
        out: l.log10_cotangent_out,
        square: l.slope_mean_square,
        mean: l.activation.mean,
      });
      Object.assign(want, { saturated: l.saturated_fraction, dead: l.dead_fraction, std: l.activation.std });
      for (const [k, v] of Object.entries(want)) assert.equal(rows[i][k], text(v), `${l.name}: ${k}`);
    });
    await close(page);
  },

  async "the profile is drawn as the document has it, gaps included"() {
    const doc = synthetic(30, { zero: [7, 8, 20] });
    const page = await open(pageOf(doc));
    const lines = (await drawn(page, "profile", "path", "stroke", "accent")).filter((p) => p.d.includes("L"));
    const found = lines.flatMap((l) => pieces(l.d));
    assert.deepEqual(
      found.map((p) => p.length),
      [7, 11, 9],
      "pieces of the line",
    );
    const points = found.flat();
    const known = doc.layers.map((l, i) => [i, l.lambda]).filter(([, v]) => v !== null);
    const across = affine(
      known.map(([i]) => i),
      points.map((p) => p[0]),
      0.6,
      "across",
    );
    const up = affine(
      known.map(([, v]) => v),
      points.map((p) => p[1]),
      0.6,
      "up",
    );
    assert.ok(across > 0 && up < 0);
    const said = await page.$$eval('[data-chart="profile"] svg text', (t) => t.map((e) => e.textContent));
    assert.equal(said.filter((t) => t === "exactly 0").length, 2, "labels of the gaps");
    assert.ok(said.some((t) => t.includes("float16 gives up")));
    await unfold(page, "profile");
    const rows = await cells(page, '[data-chart="profile"] details');
    assert.deepEqual(
      rows.map((r) => r.lambda),
      doc.layers.map((l) => text(l.lambda)),
    );
    await close(page);
  },

  async "bars of the factors are as high as the document says"() {
    const page = await open(real.html);
    let scale = null;
    for (const f of ["slope", "weight"]) {
      const want = real.doc.layers.map((l) => l.factors[f]).filter((v) => v !== 0);
      const bars = await drawn(page, "factors", "path", "fill", `f-${f}`);
      assert.equal(bars.length, want.length, f);
      bars.forEach((b, i) => {
        scale ??= b.height / Math.abs(want[i]);
        assert.ok(
          Math.abs(b.height - Math.abs(want[i]) * scale) < 0.7,
          `${f} of layer ${i}: ${b.height} px for ${want[i]}`,
        );
      });
    }
    const whole = await page.$$eval(".waterfall .fall", (r) =>
      r.map((e) => [e.dataset.factor, Number(e.dataset.value)]),
    );
    for (const [f, v] of whole) {
      const sum = real.doc.layers.reduce((a, l) => a + (f === "gain" ? l.ln_gain : l.factors[f]), 0);
      assert.ok(Math.abs(sum - v) < 1e-9, f);
    }
    assert.deepEqual(
      whole.map(([f]) => f),
      [...FACTORS, "gain"],
    );
    await close(page);
  },

  async "groups of layers are sums, on a scale that stays"() {
    const doc = synthetic(1000, { drift: -0.02, zero: [300, 301] });
    const page = await open(pageOf(doc));
    const said = await page.textContent("#factors .note[role=status]");
    const size = Number(/sum over (\d+) layers/.exec(said)[1]);
    const bars = await drawn(page, "factors", "path", "fill", "f-weight");
    const sums = [];
    for (let i = 0; i < 1000; i += size) {
      sums.push(doc.layers.slice(i, i + size).reduce((a, l) => a + (l.factors.weight ?? 0), 0));
    }
    assert.equal(bars.length, sums.length);
    affine(
      sums.map(Math.abs),
      bars.map((b) => b.height),
      0.7,
      "weights, summed",
    );
    const axis = () =>
      page.$$eval('[data-chart="factors"] svg text', (t) =>
        t.map((e) => e.textContent).filter((s) => /^[\u2212\d.]+$/.test(s) && s.includes(".")),
      );
    const before = await axis();
    await page.evaluate((k) => {
      window.chainrule.page.show(100, 100 + 60 * k);
      window.chainrule.settle();
    }, size);
    await page.evaluate(() => {
      window.chainrule.page.whole();
      window.chainrule.settle();
    });
    assert.deepEqual(await axis(), before);
    assert.ok(
      (await page.$$eval('[data-chart="factors"] svg text', (t) => t.map((e) => e.textContent))).some((s) =>
        /without/.test(s),
      ),
    );
    await close(page);
  },

  async "theory, phase plane, spectrum, paths are drawn as the document has them"() {
    const doc = synthetic(24, { zero: [5] });
    const page = await open(pageOf(doc));
    const measured = (await drawn(page, "theory", "path", "stroke", "accent")).filter((p) => p.d.includes("L"));
    const gains = doc.layers.filter((l) => l.ln_gain !== null).map((l) => l.ln_gain);
    const y = measured
      .flatMap((p) => pieces(p.d))
      .flat()
      .map((p) => p[1]);
    const up = affine(gains, y, 0.6, "measured");
    const band = await drawn(page, "theory", "path", "fill", "theory-band");
    assert.equal(band.length, 24);
    band.forEach((b, i) => {
      const t = doc.layers[i].theory;
      assert.ok(Math.abs(b.height - Math.abs(up) * (t.high - t.low)) < 0.8, `band ${i}`);
      assert.ok(Math.abs(b.y - (y[0] + up * (t.high - gains[0]))) < 0.8, `top of band ${i}`);
    });
    const dots = await drawn(page, "phase", "circle, [data-chart='phase'] svg path", "fill", "accent");
    const at = dots.filter((d) => d.width < 20).map((d) => [d.x + d.width / 2, d.y + d.height / 2]);
    assert.equal(at.length, 24);
    affine(
      doc.layers.map((l) => l.theory.bias_variance),
      at.map((p) => p[0]),
      0.8,
      "variance of biases",
    );
    affine(
      doc.layers.map((l) => l.theory.weight_variance),
      at.map((p) => p[1]),
      0.8,
      "variance of weights",
    );
    const bars = await drawn(page, "paths", "path", "fill", "accent");
    const shares = doc.paths.share.slice(0, bars.length);
    assert.ok(bars.length >= 10);
    affine(
      shares,
      bars.map((b) => b.height),
      0.7,
      "shares of paths",
    );
    const strips = (await drawn(page, "spectrum", "path", "stroke", "accent")).filter((p) => p.width < 2);
    assert.equal(strips.length, 24);
    affine(
      doc.layers.map((l) => Math.log10(l.spectrum.largest / l.spectrum.smallest)),
      strips.map((s) => s.height),
      0.8,
      "strips",
    );
    for (const chart of ["theory", "phase", "paths", "spectrum", "units"]) await unfold(page, chart);
    const rows = await cells(page, '[data-chart="theory"] details');
    assert.deepEqual(
      rows.map((r) => r.chi),
      doc.layers.map((l) => text(l.theory.chi)),
    );
    assert.deepEqual(
      (await cells(page, '[data-chart="paths"] details')).map((r) => r.share),
      doc.paths.share.map(text),
    );
    const units = await cells(page, '[data-chart="units"] details');
    assert.deepEqual(
      units.map((r) => r.dead),
      doc.layers.map((l) => text(l.dead_fraction)),
    );
    await close(page);
  },

  async "the heat map is darker where more is saturated, and blank where nothing is measured"() {
    const doc = synthetic(9);
    const page = await open(pageOf(doc));
    const fills = await page.$$eval('[data-chart="units"] svg path', (list) =>
      list
        .filter((p) => /^rgb/.test(p.getAttribute("fill") || ""))
        .map((p) => [p.getBoundingClientRect().x, p.getAttribute("fill"), p.getBoundingClientRect().y]),
    );
    const top = Math.min(...fills.map((f) => f[2]));
    const row = fills.filter((f) => f[2] < top + 5).sort((a, b) => a[0] - b[0]);
    assert.equal(row.length, 9);
    const light = row.map((f) => f[1].match(/\d+/g).reduce((a, v) => a + Number(v), 0));
    const order = (v) => v.map((_, i) => i).sort((a, b) => v[a] - v[b]);
    assert.deepEqual(order(light), order(doc.layers.map((l) => -l.saturated_fraction)));
    assert.equal(fills.length - 9, doc.layers.filter((l) => l.dead_fraction !== null).length);
    await close(page);
  },

  async "the graph has the document's edges, coloured by flow"() {
    const { html, doc } = diagnose("resnet_mini");
    const page = await open(html);
    const rows = await page.$$eval("#graph .node", (n) =>
      n.map((e) => [e.querySelector(".op").textContent, e.querySelector(".name").title]),
    );
    assert.deepEqual(
      rows,
      doc.graph.nodes.map((n) => [n.op, n.name]),
    );
    const edges = await page.$$eval("#graph path[data-edge]", (p) =>
      p.map((e) => [Number(e.dataset.edge), e.dataset.flow, e.getAttribute("stroke"), e.getAttribute("d")]),
    );
    assert.equal(edges.length, doc.graph.edges.length);
    for (const [k, flow, , d] of edges) {
      const e = doc.graph.edges[k];
      assert.equal(flow, text(e.log10_cotangent));
      const n = d.match(/-?[\d.]+/g).map(Number);
      assert.equal(n[1], e.from * 26 + 13, "begins at its operator");
      assert.equal(n[n.length - 1], e.to * 26 + 13, "ends at its reader");
    }
    assert.ok(new Set(edges.map((e) => e[2])).size > 3, "colours differ");
    const skips = doc.graph.edges.filter((e) => e.to - e.from > 2);
    assert.ok(
      skips.length > 0 && edges.filter((e) => e[3].includes("C")).length >= skips.length,
      "skips leave the lane",
    );
    await close(page);
  },

  async "what was not measured is said, and is no number"() {
    const doc = synthetic(6, { zero: [0, 1, 2, 3, 4, 5].slice(0, 2) });
    for (const key of ["theory", "spectrum", "paths", "shattering", "number_format", "balance"]) doc[key] = null;
    for (const l of doc.layers) {
      delete l.theory;
      delete l.spectrum;
    }
    delete doc.history;
    const page = await open(pageOf(doc));
    const ids = await page.$$eval("main section", (s) => s.map((e) => e.id));
    for (const id of ["theory", "phase", "spectrum", "paths", "shattering", "formats", "history"])
      assert.ok(!ids.includes(id), id);
    const said = await page.textContent("#missing");
    for (const word of ["theory", "Singular values", "Paths", "Shattered", "Number formats"])
      assert.ok(said.includes(word), word);
    assert.doesNotMatch(await page.innerText("body"), /NaN|undefined|\[object|Infinity/);
    await page.focus('[data-chart="factors"] .chart');
    await page.keyboard.press("Home");
    assert.match(
      await page.getAttribute('[data-chart="factors"] .chart', "aria-valuetext"),
      /exactly 0: its units are dead/,
    );
    await close(page);
  },

  async "a document with least in it is shown"() {
    const doc = {
      schema: "chainrule.diagnose/1",
      verdict: {
        status: "non-finite",
        sentence: "Non-finite: the loss is NaN.",
        lambda_low: null,
        lambda_high: null,
        findings: [],
      },
      layers: [
        {
          name: "only",
          op: "Gemm",
          lambda: null,
          factors: { slope: null, weight: null, norm: null, skip: null, rest: null },
          ln_gain: null,
          log10_cotangent_in: null,
          log10_cotangent_out: null,
        },
      ],
    };
    const page = await open(pageOf(doc));
    assert.match(await page.innerText("#verdict"), /Not finite/);
    assert.doesNotMatch(await page.innerText("body"), /NaN[^.]|undefined|\[object/);
    await close(page);
  },

  async "two networks side by side, and checkpoints"() {
    const doc = synthetic(16);
    doc.against = synthetic(16, { drift: -0.05, seed: 5, status: "healthy" });
    doc.against.model.file = "other.onnx";
    const page = await open(pageOf(doc));
    const other = (await drawn(page, "profile", "path", "stroke", "second")).filter(
      (p) => p.dashed && p.d.includes("L"),
    );
    affine(
      doc.against.layers.map((l) => l.lambda),
      other
        .flatMap((p) => pieces(p.d))
        .flat()
        .map((p) => p[1]),
      0.6,
      "against",
    );
    assert.equal(await page.$$eval(".sides .badge", (b) => b.map((e) => e.textContent).join(" ")), "Vanishing Healthy");
    assert.match(await page.textContent(".sides"), /other\.onnx/);
    const lines = await page.$$eval(
      '[data-chart="history"] svg path',
      (p) =>
        p.filter(
          (e) => /^rgb\(/.test(e.getAttribute("stroke") || "") && (e.getAttribute("d").match(/L/g) || []).length === 15,
        ).length,
    );
    assert.equal(lines, doc.history.length);
    assert.deepEqual(
      (await cells(page, "#history")).map((r) => r.checkpoint),
      doc.history.map((x) => x.checkpoint),
    );
    await close(page);
  },

  async "light and dark, by the system and by choice"() {
    const page = await open(real.html, { dark: true });
    const look = () =>
      page.evaluate(() => [document.documentElement.dataset.theme, getComputedStyle(document.body).backgroundColor]);
    const [theme, background] = await look();
    assert.equal(theme, "dark");
    assert.ok(
      background.match(/\d+/g).every((v) => Number(v) < 60),
      background,
    );
    assert.ok(
      (await drawn(page, "factors", "path", "fill", "f-slope")).length > 0,
      "charts have the colours of the theme",
    );
    await page.click('[data-theme-choice="light"]');
    assert.equal((await look())[0], "light");
    await page.evaluate(() => window.chainrule.settle());
    assert.ok((await drawn(page, "factors", "path", "fill", "f-slope")).length > 0, "and are drawn again");
    await close(page);
  },

  async "text stands out from what is behind it"() {
    for (const dark of [false, true]) {
      const page = await open(real.html, { dark });
      const low = await page.evaluate(() => {
        const css = getComputedStyle(document.documentElement);
        const light = (name) => {
          const c = css
            .getPropertyValue(`--${name}`)
            .match(/\w\w/g)
            .map((v) => parseInt(v, 16) / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
          return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
        };
        const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
        const text = ["ink", "muted", "accent", "second", "low", "high", "good", "warn", "flat"].flatMap((a) => [
          [a, "card", 4.5],
          [a, "bg", 4.5],
        ]);
        const shapes = ["f-slope", "f-weight", "f-norm", "f-skip", "f-rest", "flow-low", "flow-high"].map((a) => [
          a,
          "card",
          3,
        ]);
        return [...text, ...shapes]
          .filter(([a, b, least]) => ratio(a, b) < least)
          .map(([a, b]) => `${a} on ${b}: ${ratio(a, b).toFixed(2)}`);
      });
      assert.deepEqual(low, [], dark ? "dark" : "light");
      await close(page);
    }
  },

  async "the keyboard reaches everything, and one sees where it is"() {
    const page = await open(real.html);
    const seen = [];
    for (let i = 0; i < 400; i++) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const e = document.activeElement;
        if (!e || e === document.body) return null;
        const s = getComputedStyle(e);
        const what =
          e.closest("[data-chart]") && e.classList.contains("chart")
            ? `chart ${e.closest("[data-chart]").dataset.chart}`
            : e.className || e.tagName;
        return {
          what: `${e.tagName} ${what}`,
          name: e.getAttribute("aria-label") || e.textContent.trim() || e.placeholder || "",
          ring: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2,
        };
      });
      if (!at) break;
      assert.ok(at.ring, `${at.what} "${at.name}" shows its focus`);
      assert.ok(at.name, `${at.what} has a name`);
      seen.push(at);
    }
    assert.equal(seen[0].name, "Skip to the report");
    const all = seen.map((s) => s.what).join("\n");
    for (const chart of ["profile", "factors", "units"]) assert.ok(all.includes(`chart ${chart}`), chart);
    assert.ok(all.includes("graph-list") && all.includes("SUMMARY") && all.includes("copy"));
    assert.ok(seen.some((s) => s.name === "Filter by name or operator"));

    const chart = '[data-chart="profile"] .chart';
    await page.focus(chart);
    await page.keyboard.press("Home");
    for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowRight");
    assert.equal(await page.getAttribute(chart, "aria-valuenow"), "4");
    assert.ok((await page.getAttribute(chart, "aria-valuetext")).includes(real.doc.layers[3].name));
    await page.keyboard.press("Enter");
    assert.ok((await page.textContent(".detail h2")).includes(real.doc.layers[3].name));
    assert.ok(await page.evaluate(() => document.activeElement.closest(".detail") !== null), "the focus goes with it");
    await page.keyboard.press("Escape");
    assert.ok(!(await page.isVisible(".detail")));
    assert.ok(await page.$eval(chart, (e) => e === document.activeElement), "and comes back");

    await page.focus("#everything th:nth-child(4) button");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter");
    const order = (await cells(page, "#everything")).map((r) => Number(r.lambda));
    assert.deepEqual(
      order,
      real.doc.layers.map((l) => l.lambda).sort((a, b) => b - a),
    );
    assert.equal(await page.getAttribute("#everything th:nth-child(4)", "aria-sort"), "descending");
    await page.fill("#everything input", real.doc.layers[2].name);
    assert.deepEqual(
      (await cells(page, "#everything")).map((r) => r.name),
      real.doc.layers.filter((l) => l.name.includes(real.doc.layers[2].name)).map((l) => l.name),
    );

    await page.focus("#graph .graph-list");
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowDown");
    assert.equal(await page.getAttribute("#graph .graph-list", "aria-activedescendant"), "node-1");
    assert.ok((await page.textContent("#graph .note")).includes(real.doc.graph.nodes[1].name));
    await close(page);
  },

  async "names are copied whole"() {
    const page = await open(real.html);
    await page
      .context()
      .grantPermissions(["clipboard-read", "clipboard-write"])
      .catch(() => {});
    await page.evaluate(() => {
      window.copied = [];
      document.addEventListener("copy", () => window.copied.push(document.activeElement.value));
      Object.defineProperty(navigator, "clipboard", { value: { writeText: async (t) => window.copied.push(t) } });
    });
    await page.click("#everything tbody tr:first-child .copy");
    assert.deepEqual(await page.evaluate(() => window.copied), [real.doc.layers[0].name]);
    assert.equal(await page.getAttribute("#everything tbody tr:first-child .copy", "data-done"), "copied");
    await close(page);
  },

  async "it prints, light, with every chart drawn"() {
    const page = await open(pageOf(synthetic(20)), { dark: true });
    const pdf = await page.pdf({ format: "A4", preferCSSPageSize: true });
    assert.equal(pdf.subarray(0, 5).toString(), "%PDF-");
    assert.ok(pdf.length > 50000);
    const state = await page.evaluate(() => {
      dispatchEvent(new Event("beforeprint"));
      const css = getComputedStyle(document.documentElement);
      return {
        undrawn: window.chainrule.charts.filter((c) => !c.box.querySelector("svg")).map((c) => c.name),
        card: css.getPropertyValue("--card").trim(),
      };
    });
    assert.deepEqual(state, { undrawn: [], card: "#ffffff" });
    await close(page);
  },

  async "narrow screens have no sideways scrolling"() {
    for (const width of [360, 768, 1600]) {
      const page = await open(pageOf(synthetic(20)), { width });
      const [inner, all] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
      assert.ok(all <= inner, `${all} px of page on a screen of ${width}`);
      await close(page);
    }
  },

  async "1,000 and 10,000 layers: the overview first, no more shapes than can be seen"() {
    for (const n of [1000, 10000]) {
      const doc = synthetic(n, { drift: -0.02, zero: [300, 301, 302] });
      const html = pageOf(doc);
      const begin = performance.now();
      const page = await open(html);
      const ready = performance.now() - begin;
      const [zoom, shapes, rows] = await page.evaluate(() => {
        const t = performance.now();
        window.chainrule.page.show(200, 420);
        window.chainrule.settle();
        return [
          performance.now() - t,
          document.querySelectorAll("svg *").length,
          document.querySelectorAll("tr").length,
        ];
      });
      console.log(
        `    ${n} layers: all panels drawn after ${ready.toFixed(0)} ms, a zoom of all of ` +
          `them ${zoom.toFixed(0)} ms, ${shapes} shapes`,
      );
      assert.ok(shapes < 9000 && rows < 600, `${shapes} shapes, ${rows} rows`);
      const line = (await drawn(page, "profile", "path", "stroke", "accent"))
        .filter((p) => p.d.includes("L"))
        .flatMap((p) => pieces(p.d));
      const want = doc.layers
        .slice(200, 421)
        .map((l) => l.lambda)
        .filter((v) => v !== null);
      affine(
        want,
        line.flat().map((p) => p[1]),
        0.6,
        "the part in view",
      );
      await page.$eval("#everything .scroller", (s) => (s.scrollTop = s.scrollHeight));
      await page.waitForFunction(
        (last) =>
          [...document.querySelectorAll("#everything tbody tr[data-row]")].some((r) => Number(r.dataset.row) === last),
        n - 1,
      );
      await page.$eval("#graph .graph-list", (s) => (s.scrollTop = s.scrollHeight));
      await page.waitForFunction(() =>
        [...document.querySelectorAll("#graph .node .op")].some((e) => e.textContent === "Loss"),
      );
      await page.click('[aria-label="All layers"]');
      assert.equal(
        await page.textContent(".navigator .quiet"),
        n === 1000 ? "all 1\u2009000 layers" : "all 10\u2009000 layers",
      );
      await close(page);
    }
  },

  async "extremes stay in sight when points are thinned out"() {
    const doc = synthetic(10000, { drift: -0.001 });
    doc.layers[4567].lambda = -5000;
    const page = await open(pageOf(doc));
    const y = (await drawn(page, "profile", "path", "stroke", "accent"))
      .filter((p) => p.d.includes("L"))
      .flatMap((p) => pieces(p.d))
      .flat();
    const low = y.reduce((a, p) => (p[1] > a[1] ? p : a));
    const box = await page.$eval('[data-chart="profile"] .chart', (e) => e.clientWidth);
    assert.ok(Math.abs((low[0] - 64) / (box - 64 - 22) - 4567 / 10000) < 0.01);
    await close(page);
  },

  async "names of a model are text, whatever they are"() {
    const model = readFileSync(join(models, "deep_mlp_sigmoid_vanish", "model.onnx"));
    const file = join(folder, "hostile.onnx");
    const bytes = model
      .toString("latin1")
      .replaceAll("/10/Gemm", "</script")
      .replaceAll("/0/Gemm", "<!--<b>")
      .replaceAll("/2/Gemm", "<img/a>");
    writeFileSync(file, Buffer.from(bytes, "latin1"));
    const html = join(folder, "hostile.html");
    const done = chainrule("diagnose", file, "--data", "random", "--quiet", "--html", html);
    assert.equal(done.status, 0, done.stderr);
    const page = await open(html);
    const names = await page.evaluate(() => window.chainrule.document.layers.map((l) => l.name));
    for (const name of ["</script", "<!--<b>", "<img/a>"]) {
      assert.ok(names.includes(name), name);
      assert.ok(
        (await cells(page, "#everything")).some((r) => r.name === name),
        name,
      );
    }
    assert.equal(await page.$$eval("main img, main td b, script", (e) => e.length), 2, "the two scripts of the page");
    await close(page);
  },

  async "--redact leaves no name in the page"() {
    const names = real.doc.layers.map((l) => l.name);
    const { html, doc } = diagnose("mlp_relu", "--redact");
    const plain = diagnose("mlp_relu").doc;
    const held = readFileSync(join(folder, "mlp_relu.html"), "utf8");
    assert.ok(plain.layers.every((l) => held.includes(JSON.stringify(l.name).replaceAll("<", "\\u003c"))));
    const redacted = diagnose("mlp_relu", "--redact");
    const inside = readFileSync(redacted.html, "utf8").split('id="document">')[1];
    for (const l of plain.graph.nodes.filter((n) => n.name.startsWith("/")))
      assert.ok(!inside.includes(l.name), l.name);
    assert.ok(doc.layers.length && html && names.length);
  },

  async "files are written whole, or not at all"() {
    const model = join(models, "mlp_relu", "model.onnx");
    let done = chainrule("diagnose", model, "--data", "random", "--html", join(folder, "no/such/folder.html"));
    assert.equal(done.status, 3);
    assert.match(done.stderr, /folder\.html: cannot write/);
    const kept = join(folder, "kept.html");
    writeFileSync(kept, "before");
    done = chainrule("diagnose", join(folder, "absent.onnx"), "--data", "random", "--html", kept);
    assert.equal(done.status, 3);
    assert.equal(readFileSync(kept, "utf8"), "before");
    done = chainrule("diagnose", model, "--data", "random", "--html", "-");
    assert.equal(done.status, 0);
    assert.ok(done.stdout.startsWith("<!doctype html>") && done.stdout.trimEnd().endsWith("</html>"));
    done = chainrule("diagnose", model, "--data", "random", "--html", "-", "--json", "-");
    assert.equal(done.status, 2);
    assert.match(done.stderr, /--json and --html would both be written to standard output/);
    assert.deepEqual(
      readdirSync(folder).filter((f) => !/\.(html|json|onnx)$/.test(f)),
      [],
      "no temporary file is left",
    );
  },
};

// ---- running -------------------------------------------------------------------------------------

let failed = 0;
let passed = 0;
// The page is the same whatever the program was built with: under the sanitizers, what the program does is looked at.
const sanitized = (process.env.CHAINRULE_SANITIZE || "none") !== "none";
const OF_THE_PROGRAM = /document of --json|names of a model|--redact|files are written|coloured by flow/;

for (const [name, check] of Object.entries(checks)) {
  if (sanitized && !OF_THE_PROGRAM.test(name)) continue;
  if (process.argv[2] && !name.includes(process.argv[2])) continue;
  opened.length = 0;
  try {
    await check();
    for (const { bad, html } of opened) assert.deepEqual(bad, [], html);
    passed++;
    console.log(`ok   ${name}`);
  } catch (e) {
    failed++;
    console.log(`FAIL ${name}\n     ${String(e.message).split("\n").join("\n     ")}`);
  }
}
console.log(`${executablePath}: ${execFileSync(executablePath, ["--version"], { encoding: "utf8" }).trim()}`);
await browser.close();
rmSync(folder, { recursive: true });
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
