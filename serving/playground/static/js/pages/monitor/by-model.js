/** What was asked of each model behind each defence, and what came of attacks on demand. */
import { classes, html } from "../../dom.js";
import { latency, percent } from "../../format.js";
import { defenceName } from "../../models.js";
import { link } from "../../router.js";
import { judged, suspicion } from "./suspects.js";
import { nameOf } from "./use-rates.js";

const KINDS = [["natural", "held"], ["uncertain", "unsure"], ["suspect", "fooled"], ["unjudged", "soft"]];

const SAID = {
  none: { text: "does not judge", tone: "plain-tag" },
  unknown: { text: "usual share unknown", tone: "plain-tag" },
  few: { text: "too few to tell", tone: "plain-tag" },
  usual: { text: "as natural images give", tone: "held" },
  more: { text: "more than natural", tone: "fooled" },
};

export const Models = ({ models, rates }) => html`
  <section class="card" aria-labelledby="by-model">
    <h2 id="by-model">By model and defence</h2>
    ${models.length === 0
      ? html`<p class="help">No image was classified.</p>`
      : html`
          <div class="scroll" tabindex="0" role="region" aria-label="By model and defence, the table">
            <table class="plain monitored by-model">
              <thead>
                <tr>
                  <th>Model</th><th>Behind</th><th class="number">Requests</th><th class="number">Errors</th><th class="number">Images</th>
                  <th>Natural, uncertain, suspect</th><th class="number">Suspect</th><th class="number">Of natural ones</th><th>So there are</th>
                  <th class="number">p50</th><th class="number">p95</th><th class="number">p99</th>
                </tr>
              </thead>
              <tbody>${models.map((each) => html`<${Row} key=${`${nameOf(each)} ${each.defence}`} entry=${each} rate=${rates[nameOf(each)]?.[1]} />`)}</tbody>
            </table>
          </div>
        `}
  </section>
`;

function Row({ entry, rate }) {
  const { model, version, defence, total } = entry;
  const errors = total.client_errors + total.refused + total.server_errors;
  const { kind, share, of } = suspicion(total, rate);
  const ms = (value) => (value === null ? "–" : latency(value));
  return html`
    <tr>
      <th scope="row"><a href=${link(["models", model, version])}>${model}</a> <small>${version}</small></th>
      <td>${defenceName(defence)}</td>
      <td class="number">${total.requests.toLocaleString("en")}</td>
      <td class=${classes("number", errors > 0 && "complaint")}>${errors.toLocaleString("en")}</td>
      <td class="number">${total.images.toLocaleString("en")}</td>
      <td><${Share} total=${total} /></td>
      <td class="number">${of ? percent(share) : "–"}</td>
      <td class="number">${rate === undefined ? "–" : percent(rate)}</td>
      <td><span class=${classes("tag", SAID[kind].tone)}>${SAID[kind].text}</span></td>
      <td class="number">${ms(total.p50_ms)}</td><td class="number">${ms(total.p95_ms)}</td><td class="number">${ms(total.p99_ms)}</td>
    </tr>
  `;
}

/** One bar, cut as the images are. */
function Share({ total }) {
  const images = judged(total) + total.unjudged;
  return html`
    <span class="share" aria-hidden="true">
      ${images > 0 && KINDS.map(([kind, tone]) => total[kind] > 0 && html`<span class=${`line ${tone}`} style=${{ width: `${(100 * total[kind]) / images}%` }}></span>`)}
    </span>
    <small>${KINDS.slice(0, 3).map(([kind]) => total[kind].toLocaleString("en")).join(", ")}</small>
  `;
}

export function Attacked({ attacked }) {
  if (!attacked.length) return null;
  return html`
    <section class="card" aria-labelledby="attacked">
      <h2 id="attacked">Attacks on demand</h2>
      <div class="scroll" tabindex="0" role="region" aria-label="Attacks on demand, the table">
        <table class="plain monitored">
          <thead><tr><th>Attack</th><th>Model</th><th>Through</th><th class="number">Fooled</th><th class="number">Held</th><th class="number">p50</th><th class="number">p95</th></tr></thead>
          <tbody>
            ${attacked.map((each) => html`
              <tr key=${`${nameOf(each)} ${each.defence} ${each.attack}`}>
                <th scope="row">${each.attack}</th>
                <td>${each.model} <small>${each.version}</small></td>
                <td>${defenceName(each.defence)}</td>
                <td class="number">${each.fooled.toLocaleString("en")}</td>
                <td class="number">${each.held.toLocaleString("en")}</td>
                <td class="number">${each.p50_ms === null ? "–" : latency(each.p50_ms)}</td>
                <td class="number">${each.p95_ms === null ? "–" : latency(each.p95_ms)}</td>
              </tr>
            `)}
          </tbody>
        </table>
      </div>
    </section>
  `;
}
