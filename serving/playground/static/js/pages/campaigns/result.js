/** What a job came to: figures with their intervals, doubts, curves, and the images themselves. */
import { at, json, send } from "../../api.js";
import { Icon } from "../../components/icon.js";
import { Loading, ProblemNote } from "../../components/problem.js";
import { html, useState } from "../../dom.js";
import { count } from "../../format.js";
import { download } from "../../images.js";
import { key } from "../../session.js";
import { useAtom, useBack, useLoaded } from "../../store.js";
import { Curves } from "./curves.js";
import { Distances } from "./distances.js";
import { Gallery } from "./gallery.js";
import { runName } from "./names.js";
import { ResultTable } from "./result-table.js";
import { WorstCases } from "./worst-cases.js";

export function Result({ job }) {
  const path = at("v1", "jobs", job.id, "result");
  const found = useLoaded((signal) => json(`${path}?images=false`, { signal }), [job.id, useAtom(key)]);
  useBack(() => found.error && found.reload());
  if (found.error) return html`<${ProblemNote} problem=${found.error} retry=${found.reload} />`;
  if (!found.data) return html`<${Loading} what="Fetching the result …" />`;
  const result = found.data;
  const any = result.runs.some((run) => run.images_done > 0);
  return html`
    <section class="card" aria-labelledby="result">
      <div class="row spread">
        <h2 id="result">What it came to</h2>
        <div class="row">
          <${Download} path=${`${path}?format=zip`} name=${`holdfast-job-${job.id}.zip`} label="All of it, as zip" />
          <${Download} path=${`${path}?format=json`} name=${`holdfast-job-${job.id}.json`} label="JSON" />
        </div>
      </div>
      ${!result.complete && html`<div class="note doubt"><${Icon} name="warning" /><div><strong>Incomplete</strong><p>The campaign was ${result.state} before all images went through all runs. This is of those that did.</p></div></div>`}
      ${any ? html`<${ResultTable} result=${result} />` : html`<p class="help">No image went through any run.</p>`}
      <${Flags} result=${result} />
    </section>
    ${any && html`
      <${Curves} result=${result} />
      <${Distances} id=${job.id} runs=${result.runs} />
      <${WorstCases} cases=${result.worst_cases} />
      <${Gallery} id=${job.id} runs=${result.runs} />
    `}
  `;
}

/** The doubts; where several runs share one, it is said once. */
function Flags({ result }) {
  const doubts = new Map();
  const add = (flag, where) => doubts.set(flag.meaning, [...(doubts.get(flag.meaning) || []), ...where]);
  for (const run of result.runs) for (const flag of run.record.flags) add(flag, [runName(run)]);
  for (const flag of result.flags) add(flag, []);
  return [...doubts].map(([meaning, where]) => html`
    <div class="note doubt" key=${meaning}>
      <${Icon} name="warning" />
      <div>
        <strong>Do not take ${where.length === 1 ? "this" : "these"} at ${where.length === 1 ? "its" : "their"} word</strong>
        <p>${meaning[0].toUpperCase() + meaning.slice(1)}.</p>
        ${where.length > 0 && (where.length > 3
          ? html`<details><summary>${count(where.length, "run")}</summary><ul>${where.map((each) => html`<li>${each}</li>`)}</ul></details>`
          : html`<small>${where.join("; ")}</small>`)}
      </div>
    </div>
  `);
}

/** A file that needs the key: fetched, then saved. */
function Download({ path, name, label }) {
  const [state, setState] = useState({ busy: false, problem: null });
  async function fetchIt() {
    setState({ busy: true, problem: null });
    try {
      download(await (await send(path)).blob(), name);
      setState({ busy: false, problem: null });
    } catch (problem) {
      setState({ busy: false, problem });
    }
  }
  return html`
    <button type="button" disabled=${state.busy} onClick=${fetchIt}>${state.busy ? html`<span class="spinner"></span>` : html`<${Icon} name="save" />`}${label}</button>
    ${state.problem && html`<span class="complaint" role="alert">${state.problem.message}</span>`}
  `;
}
