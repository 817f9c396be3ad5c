// The panels, in the order of the page. One more is one file here and one line in the list.
//
// A panel: { id, title, nav?, part?, has?(page), lead?(page), draw(page) }.
//   part   the key of the document that it shows. Where the document has null, it was not measured, which the page
//          says in one place for all
//   has    is there anything to show? Default: the part is there
//   draw   its elements
import { verdict } from "./verdict.js";
import { profile } from "./profile.js";
import { waterfall } from "./waterfall.js";
import { theory } from "./theory.js";
import { phase } from "./phase.js";
import { formats } from "./formats.js";
import { graph } from "./graph.js";
import { spectrum } from "./spectrum.js";
import { paths } from "./paths.js";
import { units } from "./units.js";
import { shattering } from "./shattering.js";
import { balance } from "./balance.js";
import { history } from "./history.js";
import { everything } from "./everything.js";
import { setup } from "./setup.js";
import { thresholds } from "./thresholds.js";
import { definitions } from "./definitions.js";

export const panels = [
  verdict,
  profile,
  history,
  waterfall,
  theory,
  phase,
  spectrum,
  paths,
  graph,
  units,
  shattering,
  formats,
  everything,
  balance,
  setup,
  thresholds,
  definitions,
];
