/** Whose word counts for what an image is of. */
import { html } from "../../dom.js";
import { foldered } from "./draft.js";

const OF_MODEL = ["model", "what each model says"];

function choicesOf(draft) {
  if (draft.source === "examples") return [["", "their own, of the test set"], OF_MODEL];
  if (draft.source === "dataset") return draft.dataset.labels ? [["", "the data set's own"], OF_MODEL] : [OF_MODEL];
  return [
    ["", "the array file's, where there is one; else what each model says"],
    ["folder", foldered(draft) ? "the name of each image's folder" : "the name of each image's folder in the zip file"],
    ["file", "the name of each image's file, such as cat-3.png"],
    ["array", "the array file's"],
    OF_MODEL,
  ];
}

const HELP = "The attack is to make the model leave this class. Accuracies are given where labels are more than the model's own word.";

export function LabelsField({ draft, complaint, onChange }) {
  const choices = choicesOf(draft);
  const value = choices.some(([each]) => each === draft.labels) ? draft.labels : choices[0][0];
  return html`
    <div class="field">
      <label for="labels">The labels are</label>
      <select id="labels" value=${value} aria-describedby="labels-help" aria-invalid=${Boolean(complaint)} onChange=${(event) => onChange(event.currentTarget.value)}>
        ${choices.map(([each, title]) => html`<option value=${each}>${title}</option>`)}
      </select>
      <p class="help" id="labels-help">${complaint && html`<span class="complaint">${complaint} </span>`}${HELP}</p>
    </div>
  `;
}
