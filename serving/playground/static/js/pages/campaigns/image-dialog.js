/** All about one image of a run: before, the difference, after. */
import { Dialog } from "../../components/dialog.js";
import { Picture } from "../../components/picture.js";
import { html, useEffect, useRef, useState } from "../../dom.js";
import { budget, number, percent } from "../../format.js";
import { dataUrl, download, drawDifference, fromBase64, largestChange, pixels } from "../../images.js";
import { runName } from "./names.js";
import { TONES } from "./tile.js";

export function ImageDialog({ image, run, onClose }) {
  return html`
    <${Dialog} title=${image ? image.image : "Image"} open=${image !== null} onClose=${onClose}>
      ${image && html`<${About} key=${image.index} image=${image} run=${run} />`}
    <//>
  `;
}

function About({ image, run }) {
  const { original, adversarial, label, target, before, after, outcome } = image;
  return html`
    <p class="row">
      <span class="tag ${TONES[outcome] || "unsure"}">${outcome}</span>
      <span>${runName(run)}; the image is labelled ${label}.${target && ` It was to become ${target}.`}</span>
    </p>
    <div class="about">
      ${original && html`<${Picture} src=${dataUrl(original)} alt="The image" caption=${said(before)} />`}
      ${original && adversarial && html`<${Difference} before=${dataUrl(original)} after=${dataUrl(adversarial)} />`}
      ${adversarial && html`<${Picture} src=${dataUrl(adversarial)} alt="The adversarial image" caption=${said(after)} />`}
    </div>
    <p class="help">L∞ ${budget(image.linf)}, L2 ${number(image.l2)}.${!adversarial && " The model was wrong before: there was nothing to attack."}</p>
    ${adversarial && html`<div class="row"><button type="button" onClick=${() => download(fromBase64(adversarial), `adversarial-${image.index}.png`)}>Save the adversarial PNG</button></div>`}
  `;
}

const said = (answer) => answer && `${answer.label} ${percent(answer.probability)}`;

function Difference({ before, after }) {
  const canvas = useRef(null);
  const [scale, setScale] = useState(0);
  useEffect(() => {
    let current = true;
    Promise.all([pixels(before), pixels(after)]).then(([one, other]) => {
      if (!current || one.data.length !== other.data.length) return;
      const most = largestChange(one, other);
      const times = Math.max(1, Math.floor(127 / Math.max(1, most)));
      drawDifference(canvas.current, one, other, times);
      setScale(times);
    });
    return () => {
      current = false;
    };
  }, [before, after]);
  return html`
    <${Picture} caption=${scale ? `What was added, ×${scale}` : "What was added"}>
      <canvas ref=${canvas} role="img" aria-label="The perturbation, around mid-grey"></canvas>
    <//>
  `;
}
