/** Attacks of one budget together. */
import { html } from "../../dom.js";
import { percent } from "../../format.js";
import { defenceName } from "../../models.js";
import { attackName, budgetName, modelName, sideName } from "./names.js";
import { Share } from "./result-table.js";

export function WorstCases({ cases }) {
  if (!cases.length) return null;
  const labelled = cases.some((each) => each.robust_accuracy);
  return html`
    <section class="card" aria-labelledby="worst">
      <h2 id="worst">Attacks together</h2>
      <p class="help">An image counts as fooled if any of the attacks fooled it. Of several attacks, this is the figure to quote.</p>
      <div class="scroll" tabindex="0" role="region" aria-label="Each budget">
        <table class="plain">
          <thead><tr><th>Model</th><th>Defence</th><th>Attacks</th><th>Budget</th>${labelled && html`<th class="wider">Robust accuracy</th>`}<th class="number">Fooled</th><th class="number">Held</th><th class="number">Success</th></tr></thead>
          <tbody>
            ${cases.map((each) => html`
              <tr key=${`${sideName(each)} ${budgetName(each.budget)} ${each.attacks}`}>
                <td>${modelName(each)}</td>
                <td>${defenceName(each.defence)}</td>
                <td>${each.attacks.map((name) => attackName(name, each.budget)).join(", ")}</td>
                <td>${budgetName(each.budget)}</td>
                ${labelled && html`<td><${Share} share=${each.robust_accuracy} /></td>`}
                <td class="number">${each.fooled}</td>
                <td class="number">${each.held}</td>
                <td class="number">${each.success_rate === null ? "–" : percent(each.success_rate)}</td>
              </tr>
            `)}
          </tbody>
        </table>
      </div>
    </section>
  `;
}
