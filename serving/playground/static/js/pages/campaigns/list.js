/** All campaigns, newest first; the list keeps itself up to date while one runs. */
import { json } from "../../api.js";
import { Icon } from "../../components/icon.js";
import { Loading, ProblemNote } from "../../components/problem.js";
import { html, useEffect, useRef } from "../../dom.js";
import { ago, when } from "../../format.js";
import { go, link } from "../../router.js";
import { key } from "../../session.js";
import { useAtom, useBack, useLoaded } from "../../store.js";
import { JobBar, STATES, StateTag, doneOf, finished, timing, titleOf } from "./states.js";

const A_PAGE = 20;
const BETWEEN_LOOKS = 2000;

export function ListPage({ before, state }) {
  const address = `/v1/jobs?${new URLSearchParams({ limit: String(A_PAGE), ...(before && { before }), ...(state && { state }) })}`;
  const found = useLoaded(async (signal) => ({ address, ...(await json(address, { signal })) }), [address, useAtom(key)]);
  // While the server is away, the list stays as it was.
  const kept = useRef(undefined);
  if (found.data) kept.current = found.data;
  const gone = found.error?.kind === "gone" && kept.current?.address === address;
  const list = gone ? kept.current : found.data;
  const jobs = list?.jobs;
  useBack(found.reload);
  // Who looks elsewhere need not be kept up to date.
  const live = jobs?.some((job) => !finished(job)) ?? false;
  useEffect(() => {
    if (!live) return undefined;
    const timer = setInterval(() => document.hidden || found.reload(), BETWEEN_LOOKS);
    return () => clearInterval(timer);
  }, [live, address]);
  const nothing = jobs && !jobs.length && !before && !state;
  return html`
    <div class="row spread">
      <h1>Campaigns</h1>
      ${!nothing && jobs && html`<a class="button primary" href=${link(["campaigns", "new"])}><${Icon} name="plus" />New campaign</a>`}
    </div>
    ${found.error && !gone && html`<${ProblemNote} problem=${found.error} retry=${found.reload} />`}
    ${!jobs && found.loading && html`<${Loading} what="Asking which campaigns there are …" />`}
    ${nothing && html`<${Nothing} />`}
    ${jobs && !nothing && html`
      <section class="card" aria-label="Campaigns">
        <${StateSelect} state=${state} />
        ${!jobs.length && html`<p class="help">${state ? `No campaign is ${state}.` : "There are no older ones."}</p>`}
        <ol class="jobs">
          ${jobs.map((job) => html`<${Row} key=${job.id} job=${job} />`)}
        </ol>
        ${(before || list.next) && html`
          <div class="row spread">
            ${before ? html`<a class="button" href=${link(["campaigns"], { state })}>Newest</a>` : html`<span></span>`}
            ${list.next && html`<a class="button" href=${link(["campaigns"], { before: jobs.at(-1).id, state })}>Older</a>`}
          </div>
        `}
      </section>
    `}
  `;
}

function StateSelect({ state }) {
  return html`
    <label class="row narrow">
      <span class="help">Show</span>
      <select value=${state || ""} onChange=${(event) => go(["campaigns"], { state: event.currentTarget.value }, { replace: true })}>
        <option value="">all</option>
        ${STATES.map((each) => html`<option value=${each}>${each}</option>`)}
      </select>
    </label>
  `;
}

function Row({ job }) {
  return html`
    <li>
      <${StateTag} state=${job.state} />
      <div>
        <a href=${link(["campaigns", job.id])}>${titleOf(job)}</a>
        <p class="help">${doneOf(job)} · <time datetime=${job.created} title=${when(job.created)}>${ago(job.created)}</time></p>
        ${job.error && html`<p class="complaint">${job.error}</p>`}
      </div>
      <div class="how-far">
        ${!finished(job) && html`<${JobBar} job=${job} />`}
        <span class="help">${timing(job)}</span>
      </div>
    </li>
  `;
}

function Nothing() {
  return html`
    <div class="empty">
      <${Icon} name="grid" />
      <strong>No campaign yet</strong>
      <p class="measure">
        A campaign attacks many images with several attacks, on several models and behind each of their defences, and says how
        many images held: with intervals, doubts, and the images themselves. It runs on the server, and goes on when you leave.
      </p>
      <a class="button primary" href=${link(["campaigns", "new"])}><${Icon} name="plus" />Start a campaign</a>
    </div>
  `;
}
