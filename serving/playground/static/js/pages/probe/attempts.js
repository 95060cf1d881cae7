/** The attacks of this visit, to compare. */
import { classes, html } from "../../dom.js";
import { NORMS, budget, percent } from "../../format.js";
import { defenceName } from "../../models.js";

export function Attempts({ attempts }) {
  if (attempts.length < 2) return null;
  return html`
    <section class="card attempts" aria-labelledby="attempts">
      <h2 id="attempts">What you tried</h2>
      <div class="scroll" tabindex="0" role="region" aria-labelledby="attempts">
        <table class="plain">
          <thead><tr><th>Image</th><th>Model</th><th>Attack</th><th>Through</th><th>Budget</th><th>Before</th><th>After</th><th>L∞</th><th></th></tr></thead>
          <tbody>
            ${attempts.map(({ answer, image }) => {
              const { before, after_in_8_bits: after } = answer.predictions[answer.defence];
              return html`
                <tr key=${answer.request_id}>
                  <td><img src=${image.url} alt=${image.name} width="28" height="28" /></td>
                  <td>${answer.model}</td>
                  <td>${answer.attack.name}</td>
                  <td>${defenceName(answer.defence)}</td>
                  <td>${answer.attack.budget ? `${NORMS[answer.attack.budget.norm]} ${budget(answer.attack.budget.epsilon, answer.attack.budget.norm)}` : "nearest"}</td>
                  <td>${before.label} ${percent(before.probability)}</td>
                  <td>${after.label} ${percent(after.probability)}</td>
                  <td>${budget(answer.reached_in_8_bits.linf)}</td>
                  <td><span class=${classes("tag", { fooled: "fooled", held: "held" }[answer.outcome] || "unsure")}>${answer.outcome}</span></td>
                </tr>
              `;
            })}
          </tbody>
        </table>
      </div>
    </section>
  `;
}
