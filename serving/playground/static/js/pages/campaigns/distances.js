/** How far the images had to be moved: what attacks that look for the nearest image say of every budget at once. */
import { at, json } from "../../api.js";
import { Chart } from "../../components/chart.js";
import { html } from "../../dom.js";
import { NORMS, budget } from "../../format.js";
import { useAttacks } from "../../models.js";
import { useLoaded } from "../../store.js";
import { sideName } from "./names.js";

const TONES = ["held", "fooled", "unsure", "soft", ""];

/** Of more, every image's figures are too much to fetch for a plot. */
const MOST = 10_000;

export function Distances({ id, runs }) {
  const wanted = runs.some((run) => run.record.minimises) && runs.reduce((sum, run) => sum + run.images_done, 0) <= MOST;
  const attacks = useAttacks();
  const found = useLoaded(
    (signal) => (wanted ? json(`${at("v1", "jobs", id, "result")}?format=json`, { signal }) : Promise.resolve(undefined)),
    [id, wanted],
  );
  if (!wanted || !found.data || !attacks.data) return null;
  return html`
    <section class="card" aria-labelledby="distances">
      <h2 id="distances">How far the images had to be moved</h2>
      ${chartsOf(found.data.runs, attacks.data.attacks).map(({ norm, title, series }) => html`
        <${Chart} key=${title} title="Share of images that withstand ${title}" series=${series} shares yLabel="" height=${260}
          xLabel=${norm === "linf" ? "budget ε of L∞, in 255ths" : "budget ε of L2"}
          xText=${(x) => (norm === "linf" ? budget(x).replace("/255", "") : budget(x, norm))} />
      `)}
      <p class="help">
        At each budget, the images that were right and need more than that to be fooled. It is what this attack found:
        a better one may find a nearer image.
      </p>
    </section>
  `;
}

/** One chart for each attack, one line for each model behind each defence. */
function chartsOf(runs, attacks) {
  const groups = new Map();
  for (const run of runs) {
    if (!run.record.minimises || !run.images_done) continue;
    const norm = run.record.parameters.norm || attacks.find((each) => each.name === run.record.attack)?.norms[0];
    const title = `${run.attack}, ${NORMS[norm]}`;
    if (!groups.has(title)) groups.set(title, { norm, title, series: [] });
    const { series } = groups.get(title);
    const place = series.length;
    series.push({
      name: sideName(run),
      tone: TONES[place % TONES.length],
      dashed: place >= TONES.length,
      points: withstanding(run.record.results, norm),
    });
  }
  return [...groups.values()].map((group) => ({ ...group, series: toTheEnd(group.series) }));
}

/** How many are left at each budget: every image falls at its own. */
function withstanding(results, norm) {
  const right = results.filter((each) => each.outcome !== "wrong before");
  const distances = right.filter((each) => each.success).map((each) => each.reached[norm]).sort((a, b) => a - b);
  const left = (fallen) => (right.length - fallen) / results.length;
  return [[0, left(0)], ...distances.flatMap((distance, i) => [[distance, left(i)], [distance, left(i + 1)]])];
}

/** All lines as far as the longest. */
function toTheEnd(series) {
  const end = Math.max(...series.map(({ points }) => points.at(-1)[0]));
  return series.map((line) => ({ ...line, points: [...line.points, [end, line.points.at(-1)[1]]] }));
}
