/** Accuracy against the budget, where a campaign attacked at several. */
import { Chart } from "../../components/chart.js";
import { html, useState } from "../../dom.js";
import { NORMS, budget } from "../../format.js";
import { sideName } from "./names.js";

const TONES = ["held", "fooled", "unsure", "soft", ""];

/** An attack and its parameters but for the budget: what one curve is of. */
const kindOf = ({ record: { attack, parameters, eot } }) => {
  const { epsilon, ...rest } = parameters;
  return JSON.stringify([attack, rest, eot]);
};

export function Curves({ result }) {
  const charts = chartsOf(result);
  const [chosen, setChosen] = useState(0);
  if (!charts.length) return null;
  const { norm, title, series, accuracy } = charts[Math.min(chosen, charts.length - 1)];
  const what = accuracy ? "Robust accuracy" : "Share of images that held";
  return html`
    <section class="card" aria-labelledby="curves">
      <div class="row spread">
        <h2 id="curves">${accuracy ? "Accuracy" : "What held,"} against the budget</h2>
        ${charts.length > 1 && html`
          <label class="row narrow"><span class="help">Under</span>
            <select value=${chosen} onChange=${(event) => setChosen(Number(event.currentTarget.value))}>
              ${charts.map((each, i) => html`<option value=${i}>${each.title}</option>`)}
            </select>
          </label>
        `}
      </div>
      <${Chart} title="${what} under ${title}" series=${series} xLabel=${norm === "linf" ? "budget ε of L∞, in 255ths" : "budget ε of L2"} yLabel="" shares
        xText=${(x) => (norm === "linf" ? budget(x).replace("/255", "") : budget(x, norm))} height=${300} />
      <p class="help">${accuracy ? "At 0: without an attack. The bands are 95 % Wilson intervals." : "Of the images that each model was right about, by its own word."}</p>
    </section>
  `;
}

/** One chart for each attack at several budgets, and first one of all attacks together where there are such. */
export function chartsOf(result) {
  const accuracy = result.runs.some((run) => run.robust_accuracy);
  const groups = new Map();
  for (const run of result.runs) {
    if (!run.record.budget || !run.images_done) continue;
    const { norm } = run.record.budget;
    put(groups, `${norm} ${kindOf(run)}`, { norm, title: `${run.record.attack}, ${NORMS[norm]}` }, run, pointOf(run, run.record.totals.success_rate));
  }
  const together = new Map();
  for (const each of result.worst_cases) {
    const { norm } = each.budget;
    put(together, norm, { norm, title: `all attacks together, ${NORMS[norm]}` }, each, pointOf({ ...each, record: each }, each.success_rate));
  }
  return [...together.values(), ...groups.values()]
    .map((group) => ({ ...group, accuracy, series: seriesOf(group, result, accuracy) }))
    .filter(({ series }) => series.some((line) => line.budgets > 1));
}

function put(groups, name, about, side, point) {
  if (!groups.has(name)) groups.set(name, { ...about, sides: new Map() });
  const { sides } = groups.get(name);
  const line = sideName(side);
  sides.set(line, [...(sides.get(line) || []), point]);
}

const pointOf = ({ budget: own, record, robust_accuracy: robust }, success) => ({
  epsilon: (own || record.budget).epsilon,
  robust,
  held: success === null ? null : 1 - success,
});

function seriesOf({ sides }, result, accuracy) {
  return [...sides].map(([name, found], i) => {
    const clean = result.runs.find((run) => sideName(run) === name)?.clean_accuracy;
    const known = found.filter((each) => (accuracy ? each.robust : each.held !== null)).sort((a, b) => a.epsilon - b.epsilon);
    const start = accuracy ? clean && { epsilon: 0, robust: clean } : { epsilon: 0, held: 1 };
    const all = start && known[0]?.epsilon > 0 ? [start, ...known] : known;
    return {
      name,
      tone: TONES[i % TONES.length],
      dashed: i >= TONES.length,
      budgets: new Set(known.map((each) => each.epsilon)).size,
      points: all.map((each) => [each.epsilon, accuracy ? each.robust.value : each.held]),
      band: accuracy ? all.map((each) => [each.epsilon, ...each.robust.interval]) : undefined,
    };
  });
}
