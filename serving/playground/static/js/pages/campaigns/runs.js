/** How far each run of a job is, and how many images held so far. */
import { html } from "../../dom.js";
import { percent } from "../../format.js";
import { defenceName } from "../../models.js";
import { modelName, wholeName } from "./names.js";

export function Runs({ runs }) {
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label="The runs">
      <table class="plain">
        <thead><tr><th>Model</th><th>Defence</th><th>Attack</th><th>Images</th><th class="number">Fooled</th><th class="number">Wrong before</th><th class="number">Robust so far</th></tr></thead>
        <tbody>
          ${runs.map((run) => html`
            <tr key=${`${run.model}/${run.version} ${run.defence} ${run.attack}`}>
              <td>${modelName(run)}</td>
              <td>${defenceName(run.defence)}</td>
              <td>${wholeName(run.attack)}</td>
              <td><div class="so-far"><progress max=${run.images} value=${run.images_done} aria-label="Images done"></progress><span class="value">${run.images_done}/${run.images}</span></div></td>
              <td class="number">${run.images_done ? run.fooled : "–"}</td>
              <td class="number">${run.images_done ? run.wrong_before : "–"}</td>
              <td class="number">${run.robust_accuracy === null ? "–" : percent(run.robust_accuracy)}</td>
            </tr>
          `)}
        </tbody>
      </table>
    </div>
  `;
}
