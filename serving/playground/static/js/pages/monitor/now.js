/** How it is at this moment, and what the gateway is. */
import { html, useEffect, useState } from "../../dom.js";
import { bytes, count, duration, latency, percent } from "../../format.js";
import { most } from "./steps.js";

const Tile = ({ name, value, more, tone }) => html`
  <div class=${tone ? `reading ${tone}` : "reading"}><dt>${name}</dt><dd><strong>${value}</strong>${more && html`<small>${more}</small>`}</dd></div>
`;

export function Now({ report, minutes }) {
  const { requests, classifications, attack_requests: attackRequests, queue, attacks, jobs, waiting } = report;
  const { total } = requests;
  const failed = total.refused + total.server_errors;
  const of = classifications.total.requests ? classifications.total : attackRequests.total;
  return html`
    <dl class="readings" aria-label="The last ${count(minutes, "minute")}">
      <${Tile} name="Requests" value=${total.requests.toLocaleString("en")} more="${Number((total.requests / (minutes * 60)).toPrecision(2))} a second" />
      <${Tile} name="Refused or failed" value=${failed.toLocaleString("en")} tone=${failed && "fooled"}
        more=${total.requests ? `${percent(failed / total.requests)}; ${total.client_errors.toLocaleString("en")} were wrong` : "of none"} />
      <${Tile} name=${of === classifications.total ? "Classified in" : "Attacked in"} value=${of.p50_ms === null ? "–" : latency(of.p50_ms)}
        more=${of.p95_ms === null ? "none to tell of" : `p95 ${latency(of.p95_ms)}, p99 ${latency(of.p99_ms)}`} />
      <${Tile} name="Images" value=${classifications.total.images.toLocaleString("en")} more=${`${count(classifications.total.batches, "batch", "batches")}, the largest of ${classifications.total.largest_batch}`} />
      <${Tile} name="Queue now" value=${queue ? queue.waiting.toLocaleString("en") : "–"} more=${queue ? `most ${most(waiting).toLocaleString("en")}, ${queue.limit.toLocaleString("en")} may wait` : "the backend does not tell"} />
      <${Tile} name="Attacks now" value=${attacks.running} more=${`${attacks.waiting} waiting`} />
      <${Tile} name="Campaigns now" value=${jobs ? jobs.running : "–"} more=${jobs ? `${jobs.queued} waiting` : "none yet"} />
    </dl>
  `;
}

const STATES = { starting: "starting", ready: "ready", draining: "ending: answers what it has", stopped: "stopped", failed: "failed" };

export function Server({ report, at }) {
  const { server, jobs } = report;
  const uptime = server.uptime_s + useSince(at);
  return html`
    <section class="card" aria-labelledby="server">
      <h2 id="server">The gateway</h2>
      <dl class="facts bare">
        <div><dt>State</dt><dd>${STATES[server.state] || server.state}${server.state === "ready" && !server.ready && ", but cannot classify now"}</dd></div>
        <div><dt>Up for</dt><dd>${duration(Math.floor(uptime))}</dd></div>
        ${server.memory_bytes !== null && html`<div><dt>Memory</dt><dd>${bytes(server.memory_bytes)}</dd></div>`}
        <div><dt>Models run in</dt><dd>${server.backend}</dd></div>
        ${Object.entries(server.versions).map(([name, version]) => html`<div><dt>${name}</dt><dd>${version}</dd></div>`)}
        ${jobs && html`<div><dt>Campaigns that are kept</dt><dd>${jobs.succeeded} done, ${jobs.failed} failed, ${jobs.cancelled} cancelled</dd></div>`}
      </dl>
    </section>
  `;
}

/** Seconds since then; they go on while nothing new is heard. */
function useSince(at) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return Math.max(0, (now - at) / 1000);
}
