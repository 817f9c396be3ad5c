// Makes the page: `node build.mjs OUT.h [OUT.d]` bundles src/ into one HTML document and writes it as a C header with
// two strings, what stands before the JSON and what stands behind it. OUT.d lists what it was made of, for ninja.
import { build } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import katex from "katex";
import { formulas } from "./src/formulas.js";

const root = dirname(fileURLToPath(import.meta.url));
const [, , out, depfile] = process.argv;

// Fonts of KaTeX by the classes that need them. What is typeset is known here, so only those are carried.
const fonts = [
  ["KaTeX_Main-Regular", /class="katex"/],
  ["KaTeX_Math-Italic", /mathnormal/],
  ["KaTeX_Main-Bold", /mathbf/],
  ["KaTeX_AMS-Regular", /mathbb|amsrm/],
  ["KaTeX_Caligraphic-Regular", /mathcal/],
  ["KaTeX_Size1-Regular", /size1|small-op/],
  ["KaTeX_Size2-Regular", /size2|large-op/],
  ["KaTeX_Size3-Regular", /size3/],
  ["KaTeX_Size4-Regular", /size4/],
];

const typeset = Object.fromEntries(
  Object.entries(formulas).map(([name, tex]) => [
    name,
    katex.renderToString(tex, { throwOnError: true, displayMode: false }),
  ]),
);
const used = fonts.filter(([, sign]) => Object.values(typeset).some((html) => sign.test(html))).map(([name]) => name);

// src/typeset.js is what becomes of src/formulas.js: HTML and MathML, so that the page carries no typesetter.
const formulasPlugin = {
  name: "formulas",
  setup(b) {
    b.onLoad({ filter: /src\/typeset\.js$/ }, () => ({
      contents: `export const typeset = ${JSON.stringify(typeset)};`,
      watchFiles: [join(root, "src/formulas.js")],
    }));
  },
};

// KaTeX's stylesheet with the fonts in it, each once, as WOFF2.
function katexCss() {
  const dist = join(root, "node_modules/katex/dist");
  return readFileSync(join(dist, "katex.min.css"), "utf8").replace(/@font-face\{[^}]*\}/g, (face) => {
    const name = /fonts\/([\w-]+)\.woff2/.exec(face)[1];
    if (!used.includes(name)) return "";
    const data = readFileSync(join(dist, "fonts", `${name}.woff2`)).toString("base64");
    return face.replace(/src:[^}]*/, `src:url(data:font/woff2;base64,${data}) format("woff2")`);
  });
}

const js = await build({
  entryPoints: [join(root, "src/main.js")],
  bundle: true,
  minify: true,
  write: false,
  metafile: true,
  format: "iife",
  target: "es2020",
  charset: "ascii",
  legalComments: "none",
  define: { "process.env.NODE_ENV": '"production"' },
  plugins: [formulasPlugin],
  logLevel: "warning",
});
const css = await build({
  entryPoints: [join(root, "src/style.css")],
  bundle: true,
  minify: true,
  write: false,
  metafile: true,
  logLevel: "warning",
});

const place = "@DOCUMENT@";
const page = readFileSync(join(root, "src/page.html"), "utf8")
  .replace("@STYLE@", () => katexCss() + css.outputFiles[0].text)
  .replace("@SCRIPT@", () => js.outputFiles[0].text.replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--"));
const parts = page.split(place);
if (parts.length !== 2) throw new Error(`page.html needs ${place} once`);

// A C string: every byte that C or a trigraph would read otherwise is escaped.
function literal(text) {
  const lines = [];
  for (let at = 0; at < text.length; at += 4000) {
    const line = text
      .slice(at, at + 4000)
      .replace(/[\\"?\x00-\x1f\x7f]/g, (c) =>
        c === "\n"
          ? "\\n"
          : c === "\\" || c === '"' || c === "?"
            ? `\\${c}`
            : `\\${c.charCodeAt(0).toString(8).padStart(3, "0")}`,
      );
    lines.push(`"${line}"`);
  }
  return lines.join("\n");
}
writeFileSync(
  out,
  `/* Made by report/build.mjs. */
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Woverlength-strings"
#endif
static const char report_head[] =
${literal(parts[0])};
static const char report_tail[] =
${literal(parts[1])};
`,
);

if (depfile) {
  const bundled = [...Object.keys(js.metafile.inputs), ...Object.keys(css.metafile.inputs)];
  const files = [
    ...bundled.filter((f) => !f.includes("node_modules")).map((f) => join(process.cwd(), f)),
    ...["src/page.html", "src/formulas.js", "package-lock.json"].map((f) => join(root, f)),
  ];
  writeFileSync(depfile, `${relative(process.cwd(), out)}: ${files.map((f) => f.replaceAll(" ", "\\ ")).join(" ")}\n`);
}
