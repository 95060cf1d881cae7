/** One campaign: how it goes while it runs, and what it came to. */
import { at, send } from "../../api.js";
import { Icon } from "../../components/icon.js";
import { Loading, ProblemNote } from "../../components/problem.js";
import { html, useEffect, useState } from "../../dom.js";
import { ago, count, when } from "../../format.js";
import { go, link } from "../../router.js";
import { Confirm } from "./confirm.js";
import { Result } from "./result.js";
import { Runs } from "./runs.js";
import { JobBar, StateTag, doneOf, finished, timing, titleOf } from "./states.js";
import { useJob } from "./use-job.js";

const LABELS = {
  model: "what each model says",
  folder: "the names of the folders",
  file: "the names of the files",
  array: "those of the array",
  list: "as they were given",
};

export function JobPage({ id }) {
  const { job, problem, stale, reload } = useJob(id);
  useEffect(() => {
    const before = document.title;
    if (job) document.title = `${titleOf(job)} · Holdfast`;
    return () => {
      document.title = before;
    };
  }, [job?.name]);
  return html`
    <p class="help"><a href=${link(["campaigns"])}>Campaigns</a></p>
    ${problem && html`<${ProblemNote} problem=${problem} retry=${reload} />`}
    ${!job && !problem && html`<${Loading} what="Asking how the campaign is …" />`}
    ${job && !problem && html`
      <${Head} job=${job} onChange=${reload} />
      ${stale && !finished(job) && html`<p class="note doubt" role="status"><span>The server does not answer. This is how the campaign was then; it goes on without this page, and is followed again from where it was left.</span></p>`}
      <${HowFar} job=${job} />
      ${finished(job) && html`<${Result} job=${job} />`}
    `}
  `;
}

/** What is asked before a campaign is ended, and before one that has ended is deleted. */
const CANCEL = {
  title: "Cancel this campaign?",
  text: "What is done so far is kept, and can be looked at; the rest is not done any more.",
  action: "Cancel it",
};
const DELETE = {
  title: "Delete this campaign?",
  text: "Its images and results are deleted with it. This cannot be undone.",
  action: "Delete it",
};

function Head({ job, onChange }) {
  const [asking, setAsking] = useState(false);
  // What was asked stays what it was: the campaign may end before the answer is given.
  const [question, setQuestion] = useState(CANCEL);
  const over = finished(job);
  function ask() {
    setQuestion(over ? DELETE : CANCEL);
    setAsking(true);
  }
  async function cancelOrDelete() {
    if (question === DELETE) {
      await send(at("v1", "jobs", job.id), { method: "DELETE" });
      go(["campaigns"]);
    } else {
      await send(at("v1", "jobs", job.id, "cancel"), { method: "POST" });
      onChange();
    }
  }
  return html`
    <div class="row spread">
      <div class="row">
        <h1>${titleOf(job)}</h1>
        <span role="status"><${StateTag} state=${job.state} /></span>
      </div>
      <button type="button" onClick=${ask}><${Icon} name=${over ? "bin" : "close"} />${over ? "Delete" : "Cancel"}</button>
    </div>
    <p class="help">
      ${count(job.images, "image")}, ${count(job.runs.length, "run")}; labels: ${LABELS[job.labels] || job.labels}. Begun
      <time datetime=${job.created} title=${when(job.created)}> ${ago(job.created)}</time>${job.expires && html`, kept until ${when(job.expires)}`}.
    </p>
    <${Confirm} ...${question} open=${asking} onClose=${() => setAsking(false)} onConfirm=${cancelOrDelete} />
  `;
}

/** The server's own worker takes some seconds to begin: no reason to worry anybody. */
const recent = (job) => Date.now() - new Date(job.created).getTime() < 20_000;

function HowFar({ job }) {
  const over = finished(job);
  if (job.state === "succeeded") return null;
  return html`
    <section class="card" aria-labelledby="how-far">
      <div class="row spread">
        <h2 id="how-far">${over ? "How far it came" : "How far it is"}</h2>
        <span class="value">${doneOf(job)}${timing(job) && `, ${timing(job)}`}</span>
      </div>
      <${JobBar} job=${job} />
      ${job.error && html`<div class="note bad" role="alert"><${Icon} name="warning" /><div><strong>The campaign failed</strong><p>${job.error}</p></div></div>`}
      ${job.note && (recent(job) ? html`<${Loading} what="Waiting for a worker …" />` : html`<div class="note doubt"><${Icon} name="warning" /><div><strong>Nothing happens at the moment</strong><p>${job.note}</p></div></div>`)}
      <${Runs} runs=${job.runs} />
    </section>
  `;
}
