/** Which images: those that come with the playground, files, or a data set that the server has. */
import { at, json } from "../../api.js";
import { Loading, ProblemNote } from "../../components/problem.js";
import { html } from "../../dom.js";
import { count } from "../../format.js";
import { key } from "../../session.js";
import { useAtom, useLoaded } from "../../store.js";
import { FilesField } from "./files-field.js";

const SOURCES = { examples: "Examples", files: "Files", dataset: "Data set" };

export function ImagesField({ draft, examples, refused, onChange }) {
  return html`
    <fieldset class="row segments" aria-label="Where the images come from">
      ${Object.entries(SOURCES).map(([source, title]) => html`
        <label class="segment">
          <input type="radio" name="source" value=${source} checked=${draft.source === source} onChange=${() => onChange({ source, labels: "" })} />
          ${title}
        </label>
      `)}
    </fieldset>
    ${draft.source === "examples" && html`<${Examples} examples=${examples} left=${draft.left} onChange=${(left) => onChange({ left })} />`}
    ${draft.source === "files" && html`<${FilesField} files=${draft.files} refused=${refused} onChange=${(files) => onChange({ files })} />`}
    ${draft.source === "dataset" && html`<${Dataset} chosen=${draft.dataset} onChange=${(dataset) => onChange(dataset.name === draft.dataset.name ? { dataset } : { dataset, labels: "" })} />`}
  `;
}

/** `left`: the addresses of those that are left out. */
function Examples({ examples, left, onChange }) {
  if (examples.loading && !examples.data) return html`<${Loading} what="Fetching the examples …" />`;
  if (!examples.data?.length) return html`<p class="help">There are no example images for this model's data: send files, or name a data set.</p>`;
  const out = new Set(left);
  const toggle = (url) => onChange(out.has(url) ? left.filter((each) => each !== url) : [...left, url]);
  const all = examples.data.map((each) => each.url);
  return html`
    <p class="help">Test images, which no model has seen in training. Press one to leave it out.</p>
    <div class="examples several" role="group" aria-label="Example images">
      ${examples.data.map((each) => html`
        <button type="button" key=${each.url} aria-pressed=${!out.has(each.url)} title=${each.label} onClick=${() => toggle(each.url)}>
          <img src=${each.url} alt=${`${each.label}, ${each.name}`} width="40" height="40" loading="lazy" />
        </button>
      `)}
    </div>
    <div class="row">
      <span class="help" role="status">${count(examples.data.filter((each) => !out.has(each.url)).length, "image")} chosen</span>
      <button type="button" class="small" onClick=${() => onChange([])} disabled=${!out.size}>All</button>
      <button type="button" class="small" onClick=${() => onChange(all)} disabled=${out.size === all.length}>None</button>
    </div>
  `;
}

function Dataset({ chosen, onChange }) {
  const found = useLoaded((signal) => json(at("v1", "datasets"), { signal }), [useAtom(key)]);
  if (found.error) return html`<${ProblemNote} problem=${found.error} retry=${found.reload} />`;
  if (!found.data) return html`<${Loading} what="Asking which data sets there are …" />`;
  const sets = found.data.datasets;
  if (!sets.length) {
    return html`<p class="help">The server has no data set. Who runs it puts <code>.npz</code> or <code>.zip</code> files into a folder, and names that in <code>HOLDFAST_DATASETS</code>.</p>`;
  }
  const set = sets.find((each) => each.name === chosen.name);
  const change = (name) => (event) => onChange({ ...chosen, [name]: event.currentTarget.value });
  const choose = (event) => {
    const next = sets.find((each) => each.name === event.currentTarget.value);
    onChange({ ...chosen, name: next?.name || "", first: "0", labels: next?.labels || "" });
  };
  return html`
    <div class="parameters">
      <div class="field">
        <label for="dataset">Data set</label>
        <select id="dataset" value=${chosen.name} onChange=${choose} aria-describedby="dataset-help">
          <option value="">choose one …</option>
          ${sets.map((each) => html`<option value=${each.name}>${each.name}</option>`)}
        </select>
        <p class="help" id="dataset-help">${set && describe(set)}</p>
      </div>
      <div class="field">
        <label for="dataset-first">First image</label>
        <input id="dataset-first" class="short" type="number" min="0" step="1" max=${set && set.images - 1} value=${chosen.first} onInput=${change("first")} />
        <p class="help">Its place, counted from 0.</p>
      </div>
      <div class="field">
        <label for="dataset-count">How many</label>
        <input id="dataset-count" class="short" type="number" min="1" step="1" max=${set?.images} value=${chosen.count} placeholder="all" onInput=${change("count")} />
        <p class="help">In order; all from there, if empty.</p>
      </div>
    </div>
  `;
}

const describe = ({ images, channels, height, width, labels }) =>
  `${count(images, "image")}${width ? ` of ${width}×${height}, ${channels === 1 ? "grey" : "colour"}` : ""}, ${labels ? "labelled" : "without labels"}.`;
