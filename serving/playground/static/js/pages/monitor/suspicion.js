/** Whether there are more suspect images than natural ones would give, in a sentence. */
import { Icon } from "../../components/icon.js";
import { html } from "../../dom.js";
import { count, percent } from "../../format.js";
import { defenceName } from "../../models.js";
import { suspicion } from "./suspects.js";
import { nameOf } from "./use-rates.js";

export function Suspicion({ models, rates }) {
  const all = models.map((each) => ({ ...each, rate: rates[nameOf(each)]?.[1], ...suspicion(each.total, rates[nameOf(each)]?.[1]) }));
  const more = all.filter((each) => each.kind === "more");
  const known = all.filter((each) => each.kind === "usual");
  if (more.length) {
    return html`
      <div class="note bad">
        <${Icon} name="warning" />
        <div>
          <strong>More suspect images than natural ones would give</strong>
          ${more.map((each) => html`<p>${each.model}, ${defenceName(each.defence)}: ${sentence(each)}</p>`)}
          <p>Somebody may be attacking it, or its images are of another kind than it was trained on.</p>
        </div>
      </div>
    `;
  }
  if (known.length) {
    return html`
      <div class="note fine">
        <${Icon} name="held" />
        <div>
          <strong>No more suspect images than natural ones would give</strong>
          ${known.map((each) => html`<p>${each.model}, ${defenceName(each.defence)}: ${sentence(each)}</p>`)}
          <p>An adversary who knows the thresholds can stay within them.</p>
        </div>
      </div>
    `;
  }
  return html`<p class="help">${unsaid(all.map((each) => each.kind))}</p>`;
}

/** Why nothing can be said. */
function unsaid(kinds) {
  if (kinds.includes("few")) return "There are too few judged images to tell whether more are suspect than natural ones would give.";
  if (kinds.includes("unknown")) return "Which share of natural images is suspect is not known: asking about models needs a key with the scope “classify” as well.";
  return "No model that was asked judges whether an image is natural.";
}

const sentence = ({ total, of, share, rate }) =>
  `${total.suspect.toLocaleString("en")} of ${count(of, "image")} are suspect, ${percent(share)}; of natural images alone, ${percent(rate)} would be.`;
