// What was run, and what the file of the model has to say.
import { h } from "../dom.js";
import { is, num, plural } from "../format.js";
import { nameOf } from "./verdict.js";

export const setup = {
  id: "setup",
  title: "What was measured",
  nav: "Set-up",
  has: () => true,
  draw(page) {
    const { doc } = page;
    const rows = [];
    const add = (name, ...value) => rows.push(h("dt", {}, name), h("dd", {}, value));
    const model = doc.model && typeof doc.model === "object" ? doc.model : {};
    add(
      "model",
      nameOf(doc, "not named (the report is redacted)"),
      is(model.parameters) ? `, ${plural(model.parameters, "tensor")} of parameters` : "",
    );
    if (doc.data) {
      add(
        "data",
        doc.data.source === "random" ? h("b", {}, "random numbers") : "from a file",
        is(doc.data.samples) ? `, ${plural(doc.data.samples, "sample")}` : "",
        is(doc.data.batch) ? `, in batches of ${doc.data.batch}` : "",
      );
    }
    if (doc.loss)
      add(
        "loss",
        doc.loss.said || doc.loss.kind,
        is(doc.loss.value) ? `; its value is ${num(doc.loss.value, 6)}` : "; its value is no number",
      );
    const m = doc.modes || {};
    if (m.batch_norm)
      add(
        "batch norms",
        m.batch_norm === "stored"
          ? "with the statistics stored in the file"
          : "with the statistics of the batch, as in training",
      );
    if (m.dropout) add("dropout", m.dropout === "on" ? "drops entries" : "off, the identity");
    if (is(m.loss_scale) && m.loss_scale !== 1) add("loss scale", `${num(m.loss_scale, 0)}, divided out`);
    const w = doc.weights_state;
    if (w) {
      add(
        "weights",
        {
          initialisation: "as they were drawn at initialisation",
          trained: "trained",
          unknown: "not known whether at initialisation or trained",
        }[w.state] || w.state,
        w.given ? " (as you said)" : "",
        (w.evidence || []).length
          ? h(
              "ul",
              {},
              w.evidence.map((e) =>
                h(
                  "li",
                  {},
                  typeof e === "string" ? e : e.text,
                  e && e.fits === false ? h("span", { class: "quiet" }, " (against)") : "",
                ),
              ),
            )
          : null,
      );
    }
    if ((doc.closed_gates || []).length)
      add(
        "closed gates",
        `${doc.closed_gates.join(", ")}: parameters that are 0 everywhere; what is behind ` +
          `them is measured again after one small step`,
      );
    if (doc.skipped && doc.skipped.length) add("left out for time", [].concat(doc.skipped).join("; "));
    add("chainrule", doc.version || "");
    const notices = (doc.export || []).filter((n) => n.text);
    return [
      h("dl", { class: "list" }, rows),
      notices.length
        ? h(
            "div",
            { class: "notices" },
            h("h3", {}, "What the file of the model says"),
            h(
              "ul",
              {},
              notices.map((n) => h("li", {}, h("b", {}, `${n.kind}: `), n.text)),
            ),
          )
        : null,
    ];
  },
};
