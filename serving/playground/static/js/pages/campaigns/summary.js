/** What the campaign will be, and the button that starts it. */
import { Copy } from "../../components/copy.js";
import { Icon } from "../../components/icon.js";
import { ProblemNote } from "../../components/problem.js";
import { html } from "../../dom.js";
import { count, percent } from "../../format.js";
import { key } from "../../session.js";
import { campaignCurl } from "../../snippets.js";
import { isImage, lacks } from "./draft.js";

export function Summary({ draft, request, attacks, expanded, examples, submission, onChange, onSubmit }) {
  const pairs = Object.values(draft.models).reduce((sum, defences) => sum + defences.length, 0);
  const runs = pairs * expanded.length;
  const images = imagesOf(draft, examples);
  const missing = whatIsMissing(draft, attacks, pairs, images);
  const facts = [
    ["Models", `${Object.keys(draft.models).length}${pairs > Object.keys(draft.models).length ? `, ${pairs} with their defences` : ""}`],
    ["Attacks", `${expanded.length}${expanded.length > draft.attacks.length ? ", each budget counted" : ""}`],
    ["Images", images.text],
    ["Runs", `${runs}`],
  ];
  return html`
    <aside class="card summary" aria-labelledby="summary">
      <h2 id="summary">This campaign</h2>
      <dl class="pairs">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      ${images.known && runs > 0 && html`<p class="help">${(images.known * runs).toLocaleString("en")} times one attack on one image. Every image is checked before the first is attacked.</p>`}
      <div class="field">
        <label for="campaign-name">Name</label>
        <input id="campaign-name" type="text" maxlength="200" placeholder="optional" value=${draft.name} onInput=${(event) => onChange({ name: event.currentTarget.value })} />
        <p class="help">A note, to find it again by.</p>
      </div>
      <label class="check">
        <input type="checkbox" checked=${draft.floats} onChange=${(event) => onChange({ floats: event.currentTarget.checked })} />
        <span>Keep the exact images <small>as float32, in the zip file</small></span>
      </label>
      ${submission.sending ? html`<${Sending} submission=${submission} />` : html`
        <button type="button" class="primary" disabled=${Boolean(missing)} onClick=${onSubmit} aria-describedby="missing"><${Icon} name="play" />Start the campaign</button>
        <p class="complaint" id="missing">${missing}</p>
      `}
      ${!missing && html`<${Copy} label="The same with curl" text=${campaignCurl(request, namesOf(draft, examples), { address: location.origin, secured: key.get() !== "" })} />`}
      ${submission.problem && html`<${Refused} problem=${submission.problem} onSubmit=${onSubmit} />`}
    </aside>
  `;
}

function Sending({ submission: { sent, stop } }) {
  const arrived = sent >= 1;
  return html`
    <div class="progress">
      <progress max="1" value=${arrived ? undefined : sent} aria-label="Sent to the server"></progress>
      <span role="status">${arrived ? "The server checks every image …" : `Sending, ${percent(sent, 0)}`}</span>
    </div>
    <button type="button" onClick=${stop}>Stop</button>
  `;
}

function Refused({ problem, onSubmit }) {
  const { images } = problem.document;
  return html`
    <${ProblemNote} problem=${problem} retry=${problem.kind === "gone" || problem.status >= 500 ? onSubmit : undefined}>
      ${problem.kind === "gone" && html`<span>Sending it again starts it once, even if the server had it already.</span>`}
    <//>
    ${images?.length > 1 && html`
      <details class="more">
        <summary>${count(images.length, "image")} that cannot be used</summary>
        <ul class="files">${images.map((each) => html`<li key=${each.index}>${each.detail}</li>`)}</ul>
      </details>
    `}
  `;
}

const namesOf = ({ source, files }, examples) => ({ files, examples })[source]?.map((each) => each.name) || [];

/** How many images there will be, as far as that is known here: a zip file's are not. */
function imagesOf(draft, examples) {
  if (draft.source === "examples") return { known: examples.length, text: String(examples.length) };
  if (draft.source === "dataset") {
    const known = Number(draft.dataset.count) || 0;
    const text = draft.dataset.name ? `${known || "all"} of ${draft.dataset.name}` : "none yet";
    return { known, text, none: !draft.dataset.name };
  }
  const single = draft.files.filter(isImage).length;
  const packed = draft.files.length - single;
  if (!packed) return { known: single, text: String(single) };
  return { known: 0, text: `${single ? `${single} and ` : ""}those in ${count(packed, "file")}` };
}

function whatIsMissing(draft, attacks, pairs, images) {
  if (!pairs) return "Choose a model.";
  for (const entry of draft.attacks) {
    const lacking = lacks(entry, attacks.find((each) => each.name === entry.attack));
    if (lacking) return `${entry.attack}: ${lacking}`;
  }
  if (images.none) return "Choose a data set.";
  if (draft.source === "files" && !draft.files.length) return "Choose some files.";
  if (draft.source === "examples" && !images.known) return "Choose some images.";
  if (draft.source === "dataset" && !(Number.isInteger(Number(draft.dataset.first)) && Number(draft.dataset.first) >= 0)) return "The first image's place is a whole number.";
  if (draft.source === "dataset" && draft.dataset.count !== "" && !(Number.isInteger(Number(draft.dataset.count)) && Number(draft.dataset.count) > 0)) return "How many images: a whole number.";
  return "";
}
