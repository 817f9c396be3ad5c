// Tables: sortable, filtered, with the exact number of the document behind each cell. Only the rows in sight exist, so
// that ten thousand are as quick as ten.
import { copyable, h } from "./dom.js";
import { is, num } from "./format.js";

const ROW = 31;
const WINDOW = 60;

/** columns: {key, name, title?, text: boolean, show(value, row)?, copy?, formula?}; rows: objects by key. */
export function table({ caption, columns, rows, filter, onrow, height = 480 }) {
  let order = rows.map((_, i) => i);
  let sort = null;
  let down = false;
  let first = -1;
  const whole = rows.length <= WINDOW * 2;
  const body = h("tbody", {});
  const status = h("span", { class: "status", role: "status" });
  const heads = columns.map((c) =>
    h(
      "th",
      {
        scope: "col",
        class: c.text ? "text" : "number",
        title: c.title || null,
        "data-key": c.key,
        "aria-sort": "none",
      },
      h(
        "button",
        { type: "button", onclick: () => by(c) },
        h("span", {}, c.name),
        h("span", { class: "arrow", "aria-hidden": "true" }),
      ),
    ),
  );
  const t = h(
    "table",
    { "aria-rowcount": rows.length + 1 },
    h("caption", { class: caption ? "" : "hidden" }, caption || ""),
    h("thead", {}, h("tr", {}, heads)),
    body,
  );
  const scroller = h(
    "div",
    {
      class: "scroller",
      tabindex: 0,
      role: "region",
      "aria-label": caption || "table",
      style: `max-height:${height}px`,
    },
    t,
  );
  const box = h("div", { class: "table" });

  function cell(c, row) {
    const v = row[c.key];
    const shown = c.show ? c.show(v, row) : c.text ? String(v ?? "\u2013") : num(v);
    const none = v === null || v === undefined;
    return h(
      "td",
      {
        class: `${c.text ? "text" : "number"}${none ? " none" : ""}`,
        "data-key": c.key,
        "data-value": none ? "null" : String(v),
        title: c.text && !none ? String(v) : none && row.why ? row.why : null,
      },
      h("span", {}, shown),
      c.copy && !none ? copyable(String(v)) : null,
    );
  }

  function line(at) {
    const i = order[at];
    const r = h(
      "tr",
      { "aria-rowindex": at + 2, "data-row": i },
      columns.map((c) => cell(c, rows[i])),
    );
    if (onrow) {
      r.classList.add("pick");
      r.addEventListener("click", (e) => {
        if (!e.target.closest("button")) onrow(rows[i], i);
      });
    }
    return r;
  }

  const space = (n) =>
    n > 0
      ? [
          h(
            "tr",
            { class: "space", "aria-hidden": "true" },
            h("td", { colspan: columns.length, style: `height:${n * ROW}px` }),
          ),
        ]
      : [];

  function fill(force) {
    const from = whole ? 0 : Math.max(0, Math.min(order.length - WINDOW, Math.floor(scroller.scrollTop / ROW) - 12));
    if (from === first && !force) return;
    first = from;
    const to = whole ? order.length : Math.min(order.length, from + WINDOW);
    body.replaceChildren(
      ...space(from),
      ...order.slice(from, to).map((_, k) => line(from + k)),
      ...space(order.length - to),
    );
  }

  function by(c) {
    down = sort === c ? !down : false;
    sort = c;
    const rank = (v) => (v === null || v === undefined || v === "" ? null : v);
    order.sort((a, b) => {
      const [x, y] = [rank(rows[a][c.key]), rank(rows[b][c.key])];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      const d = is(x) && is(y) ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
      return (down ? -d : d) || a - b;
    });
    columns.forEach((k, i) =>
      heads[i].setAttribute("aria-sort", k === c ? (down ? "descending" : "ascending") : "none"),
    );
    scroller.scrollTop = 0;
    fill(true);
  }

  if (filter) {
    const field = h("input", {
      type: "search",
      placeholder: filter,
      "aria-label": filter,
      oninput: () => {
        const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
        const has = (row) =>
          words.every((w) =>
            columns.some(
              (c) =>
                c.text &&
                String(row[c.key] ?? "")
                  .toLowerCase()
                  .includes(w),
            ),
          );
        order = rows.map((_, i) => i).filter((i) => has(rows[i]));
        status.textContent = words.length ? `${order.length} of ${rows.length}` : "";
        if (sort) {
          down = !down;
          by(sort);
        }
        scroller.scrollTop = 0;
        fill(true);
      },
    });
    box.append(h("div", { class: "filter" }, field, status));
  }
  scroller.addEventListener("scroll", () => fill(false), { passive: true });
  box.append(scroller);
  if (!whole) {
    box.append(
      h(
        "p",
        { class: "on-paper" },
        `The first ${WINDOW} of ${rows.length} rows; all are in the file and in the document of --json.`,
      ),
    );
  }
  fill(true);
  return box;
}
