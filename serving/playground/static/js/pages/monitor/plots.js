/** What happened over time. */
import { Chart } from "../../components/chart.js";
import { Stack } from "../../components/stack.js";
import { html } from "../../dom.js";
import { count, duration, latency } from "../../format.js";
import { barSeconds, bars, most, points, range } from "./steps.js";

const VERDICTS = [
  { name: "natural", tone: "held" },
  { name: "uncertain", tone: "unsure" },
  { name: "suspect", tone: "fooled" },
  { name: "unjudged", tone: "soft" },
];

const OUTCOMES = [
  { name: "succeeded", tone: "held", series: "succeeded" },
  { name: "wrong requests (4xx)", tone: "unsure", series: "client_errors" },
  { name: "refused (429, 503)", tone: "ink", series: "refused" },
  { name: "failed (5xx)", tone: "fooled", series: "server_errors" },
  { name: "caller gone", tone: "soft", series: "gone" },
];

const common = (report, minutes) => ({ from: `${count(minutes, "minute")} ago`, each: `each bar ${duration(barSeconds(report)).replace(".0", "")}` });

const Card = ({ children }) => html`<section class="card">${children}</section>`;

export const Verdicts = ({ report, minutes }) => html`
  <${Card}>
    <${Stack} title="Images classified" unit="image" kinds=${VERDICTS} bars=${bars(report, VERDICTS.map(({ name }) => report.classifications.series[name]))} ...${common(report, minutes)} />
  <//>
`;

export const Outcomes = ({ report, minutes }) => html`
  <${Card}>
    <${Stack} title="Requests" unit="request" kinds=${OUTCOMES} bars=${bars(report, OUTCOMES.map(({ series }) => report.requests.series[series]))} ...${common(report, minutes)} />
  <//>
`;

const ago = (minutes) => (minutes === 0 ? "now" : `${Number(minutes.toFixed(1))} min`);

const QUANTILES = [
  { name: "p50", tone: "held", of: "p50_ms" },
  { name: "p95", tone: "unsure", of: "p95_ms" },
  { name: "p99", tone: "fooled", of: "p99_ms" },
];

/** Of classifications, or of attacks where there were no others. */
export function Latency({ report }) {
  const kind = report.classifications.total.requests || !report.attack_requests.total.requests ? "classifications" : "attack_requests";
  const { series } = report[kind];
  return html`
    <${Card}>
      <${Chart}
        title=${kind === "classifications" ? "Latency of classifications" : "Latency of attacks"}
        series=${QUANTILES.map(({ name, tone, of }) => ({ name, tone, points: points(report, series[of]) }))}
        xLabel="" yLabel="" xText=${ago} xRange=${range(report)} yText=${latency}
      />
    <//>
  `;
}

export function Load({ report }) {
  const { waiting, in_flight: inFlight } = report;
  return html`
    <${Card}>
      <${Chart}
        title="At once, at most"
        series=${[
          { name: "requests being answered", tone: "held", points: points(report, inFlight) },
          { name: "images waiting", tone: "fooled", dashed: true, points: points(report, waiting) },
        ]}
        xLabel="" yLabel="" xText=${ago} xRange=${range(report)} yText=${(y) => (Number.isInteger(y) ? y.toLocaleString("en") : "")}
      />
      <p class="help">The most were ${count(most(waiting), "image")} waiting, and ${count(most(inFlight), "request")} being answered.</p>
    <//>
  `;
}
