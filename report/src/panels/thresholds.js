// Every threshold of the rule, and where it comes from.
import { h } from "../dom.js";
import { is, num } from "../format.js";
import { table } from "../table.js";

export const thresholds = {
  id: "thresholds",
  title: "Thresholds and their sources",
  nav: "Thresholds",
  part: "thresholds",
  has: (page) => Array.isArray(page.doc.thresholds) && page.doc.thresholds.length > 0,
  draw(page) {
    const rows = page.doc.thresholds.map((t) => ({
      name: t.name ?? t.quantity ?? t.status ?? null,
      value: t.value ?? t.threshold ?? null,
      text: t.text ?? t.said ?? t.rule ?? null,
      source: t.source ?? null,
    }));
    const some = (k) => rows.some((r) => r[k] !== null);
    return [
      h(
        "div",
        {},
        table({
          caption: "",
          rows,
          columns: [
            { key: "name", name: "quantity", text: true },
            { key: "value", name: "threshold", show: (v) => (is(v) ? num(v, 4) : String(v ?? "\u2013")) },
            ...(some("text") ? [{ key: "text", name: "meaning", text: true }] : []),
            { key: "source", name: "source", text: true },
          ],
        }),
      ),
    ];
  },
};
