/** Monitor: the last minutes of this gateway. */
import { Icon } from "../../components/icon.js";
import { Empty, Loading, ProblemNote } from "../../components/problem.js";
import { html, useState } from "../../dom.js";
import { count } from "../../format.js";
import { link } from "../../router.js";
import { Attacked, Models } from "./by-model.js";
import { Now, Server } from "./now.js";
import { Latency, Load, Outcomes, Verdicts } from "./plots.js";
import { Suspicion } from "./suspicion.js";
import { useMonitor } from "./use-monitor.js";
import { useRates } from "./use-rates.js";

const WINDOWS = [5, 15];

export function MonitorPage() {
  const [minutes, setMinutes] = useState(WINDOWS[0]);
  const [paused, setPaused] = useState(false);
  const { report, at, looked, error, retry } = useMonitor(minutes, paused);
  return html`
    <div class="hero">
      <h1>Monitor</h1>
      <p>What this gateway was asked in the last minutes, and how it went. It is kept in memory; for longer, and for several gateways, there is <code>/metrics</code>.</p>
    </div>
    <div class="row monitor-tools">
      <div class="row" role="group" aria-label="How far back">
        ${WINDOWS.map((each) => html`<button type="button" aria-pressed=${each === minutes} onClick=${() => setMinutes(each)}>${each} minutes</button>`)}
      </div>
      <button type="button" aria-pressed=${paused} onClick=${() => setPaused(!paused)}><${Icon} name=${paused ? "play" : "pause"} />${paused ? "Go on" : "Pause"}</button>
      <span class="help" role="status">${said(paused, error, report)}</span>
      ${looked && html`<span class="help">As of ${new Date(looked).toLocaleTimeString([])}</span>`}
    </div>
    ${error && html`
      <${ProblemNote} problem=${error} retry=${retry}>
        ${error.kind === "missing-scope" && html`<p class="help">What everybody asks is for a key with the scope <code>admin</code>, or for all with <code>HOLDFAST_METRICS_OPEN=1</code>.</p>`}
      <//>
    `}
    ${report ? html`<${Report} report=${report} at=${at} />` : !error && html`<${Loading} what="Asking for the last minutes …" />`}
  `;
}

function said(paused, error, report) {
  if (paused) return "Paused: what is here stays.";
  if (error) return report ? "What is here is from before." : "";
  return report ? "Looked at every two seconds." : "";
}

function Report({ report, at }) {
  const minutes = (report.steps * report.step_s) / 60;
  const rates = useRates(report.models);
  const { requests, attacked } = report;
  // A model that was only attacked classified nothing.
  const models = report.models.filter(({ total }) => total.requests || total.images);
  const quiet = !requests.total.requests && !report.in_flight.some(Boolean);
  return html`
    <${Now} report=${report} minutes=${minutes} />
    ${quiet
      ? html`
          <${Empty} title="No request in the last ${count(minutes, "minute")}">
            <a href=${link([])}>Probe an image</a> in another tab, and watch it come here.
          <//>
        `
      : html`
          <${Suspicion} models=${models} rates=${rates} />
          <div class="columns wide-plots">
            <${Verdicts} report=${report} minutes=${minutes} />
            <${Outcomes} report=${report} minutes=${minutes} />
            <${Latency} report=${report} />
            <${Load} report=${report} />
          </div>
          <${Models} models=${models} rates=${rates} />
          <${Attacked} attacked=${attacked} />
        `}
    <${Server} report=${report} at=${at} />
  `;
}
