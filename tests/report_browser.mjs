// A real browser, pages of chainrule in it, and what they have drawn: for test_report.mjs.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { withDocument } from "./report_documents.mjs";

const source = process.env.CHAINRULE_SOURCE || resolve(dirname(fileURLToPath(import.meta.url)), "..");
const program = resolve(process.env.CHAINRULE || join(source, "build/chainrule"));
export const models = join(source, "tests/data/onnx-reference");
export const folder = mkdtempSync(join(tmpdir(), "chainrule-report-"));

function skip(why) {
  console.log(why);
  process.exit(process.env.CI ? 1 : 77);
}

function browserPath() {
  for (const name of [process.env.CHROMIUM, "chromium", "chromium-browser", "google-chrome"]) {
    if (!name) continue;
    const found = spawnSync("sh", ["-c", `command -v "${name}"`]);
    if (found.status === 0) return String(found.stdout).trim();
  }
  return skip("no browser: please install chromium; the page of the report was not tested");
}

function playwright() {
  try {
    return createRequire(join(source, "report/"))("playwright-core").chromium;
  } catch {
    return skip("no playwright-core: run `npm ci --ignore-scripts` in report/; the page of the report was not tested");
  }
}

export const executablePath = browserPath();
export const browser = await playwright().launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });

// ---- documents and pages -------------------------------------------------------------------------

export function chainrule(...args) {
  return spawnSync(program, args, { encoding: "utf8", maxBuffer: 1 << 26 });
}

export function diagnose(model, ...args) {
  const [html, json] = [join(folder, `${model}.html`), join(folder, `${model}.json`)];
  const file = join(models, model, "model.onnx");
  const done = chainrule("diagnose", file, "--data", "random", "--quiet", "--html", html, "--json", json, ...args);
  assert.equal(done.status, 0, done.stderr);
  return { html, doc: JSON.parse(readFileSync(json, "utf8")) };
}

export const real = diagnose("deep_mlp_sigmoid_vanish");
export const template = readFileSync(real.html, "utf8");
let made = 0;
export function pageOf(doc) {
  const html = join(folder, `made-${made++}.html`);
  writeFileSync(html, withDocument(template, doc));
  return html;
}

export const opened = [];
export async function open(html, { dark = false, width = 1280, height = 900 } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light" });
  const page = await context.newPage();
  const bad = [];
  page.on("console", (m) => m.type() !== "log" && bad.push(`console: ${m.text()}`));
  page.on("pageerror", (e) => bad.push(`error: ${e.message}`));
  page.on("request", (r) => !/^(file|data|blob):/.test(r.url()) && bad.push(`request: ${r.url()}`));
  opened.push({ bad, html });
  await page.goto(pathToFileURL(html).href);
  await page.waitForSelector("html[data-ready]");
  await page.evaluate(() => window.chainrule.settle());
  return page;
}

export const close = (page) => page.context().close();

/** The shapes that a chart has drawn with this colour of the theme: their boxes or paths, in the order of drawing. */
export function drawn(page, chart, tag, paint, colour) {
  return page.evaluate(
    ([name, element, by, variable]) => {
      const css = getComputedStyle(document.documentElement).getPropertyValue(`--${variable}`).trim();
      const plain = (c) => {
        const e = document.createElement("i");
        e.style.color = c;
        document.body.append(e);
        const out = getComputedStyle(e).color;
        e.remove();
        return out;
      };
      const want = plain(css);
      return [...document.querySelectorAll(`[data-chart="${name}"] svg ${element}`)]
        .filter((e) => e.getAttribute(by) && e.getAttribute(by) !== "none" && plain(e.getAttribute(by)) === want)
        .map((e) => {
          const b = e.getBoundingClientRect();
          const box = e.closest(".chart").getBoundingClientRect();
          return {
            d: e.getAttribute("d"),
            dashed: Boolean(e.getAttribute("stroke-dasharray")),
            x: b.x - box.x,
            y: b.y - box.y,
            width: b.width,
            height: b.height,
          };
        });
    },
    [chart, tag, paint, colour],
  );
}

/** Points of an SVG path, one list for each of its pieces. */
export function pieces(d) {
  return d
    .split("M")
    .filter(Boolean)
    .map((piece) => {
      const n = piece.match(/-?[\d.]+(e-?\d+)?/g).map(Number);
      return Array.from({ length: n.length / 2 }, (_, i) => [n[2 * i], n[2 * i + 1]]);
    });
}

/** y is an affine function of x, up to `off`. */
export function affine(x, y, off, what) {
  const far = x.reduce((best, v, i) => (Math.abs(v - x[0]) > Math.abs(x[best] - x[0]) ? i : best), 0);
  assert.notEqual(x[far], x[0], `${what}: no two values differ`);
  const slope = (y[far] - y[0]) / (x[far] - x[0]);
  x.forEach((v, i) => {
    const want = y[0] + slope * (v - x[0]);
    assert.ok(Math.abs(y[i] - want) <= off, `${what}: entry ${i} is drawn at ${y[i]}, its value belongs at ${want}`);
  });
  return slope;
}

/** What the cells of a table hold, exactly, row by row. */
export function cells(page, selector) {
  return page.$$eval(`${selector} tbody tr[data-row]`, (rows) =>
    rows.map((r) => Object.fromEntries([...r.cells].map((c) => [c.dataset.key, c.dataset.value]))),
  );
}

export async function unfold(page, chart) {
  await page.$eval(`[data-chart="${chart}"] details`, (d) => (d.open = true));
  await page.waitForSelector(`[data-chart="${chart}"] details tbody tr`);
}

export const text = (v) => (v === null || v === undefined ? "null" : String(v));
