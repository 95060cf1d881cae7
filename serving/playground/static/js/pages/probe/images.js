/** The image, what was added to it, and the sum, side by side. */
import { Picture } from "../../components/picture.js";
import { html, useEffect, useRef, useState } from "../../dom.js";
import { dataUrl, drawDifference, largestChange, pixels } from "../../images.js";

export function Images({ answer, image }) {
  const original = answer.original ? dataUrl(answer.original) : image.url;
  const adversarial = dataUrl(answer.adversarial);
  const [data, setData] = useState(null);
  const [scale, setScale] = useState(Math.round(answer.perturbation.scale));
  const [peeking, setPeeking] = useState(false);
  const canvas = useRef(null);
  useEffect(() => {
    let current = true;
    setScale(Math.max(1, Math.min(128, Math.round(answer.perturbation.scale))));
    Promise.all([pixels(original), pixels(adversarial)]).then(([before, after]) => current && setData({ before, after }));
    return () => {
      current = false;
    };
  }, [answer]);
  const comparable = data && data.before.data.length === data.after.data.length;
  useEffect(() => {
    if (comparable) drawDifference(canvas.current, data.before, data.after, scale);
  }, [data, scale]);
  const peek = (on) => () => setPeeking(on);
  return html`
    <div class="triptych">
      <${Picture} src=${original} alt="The image as the model was shown it" caption="The image" />
      <span class="sign" aria-hidden="true">+</span>
      <${Picture} caption=${html`What was added, ×${scale}`}>
        ${comparable || !answer.original
          ? html`<canvas ref=${canvas} role="img" aria-label="The perturbation, ${scale} times larger than life, around mid-grey" hidden=${!comparable}></canvas>
              ${!comparable && html`<img src=${dataUrl(answer.perturbation)} alt="The perturbation" />`}`
          : html`<img src=${dataUrl(answer.perturbation)} alt="The perturbation" />`}
      <//>
      <span class="sign" aria-hidden="true">=</span>
      <${Picture}
        src=${peeking ? original : adversarial}
        alt=${peeking ? "The image, for comparison" : "The adversarial image"}
        caption=${peeking ? "The image again" : "The adversarial image"}
      />
    </div>
    <div class="row under">
      ${comparable && html`
        <label class="row">Perturbation ×${scale}
          <input type="range" min="1" max="128" value=${scale} aria-valuetext="${scale} times larger than life" onInput=${(event) => setScale(Number(event.currentTarget.value))} />
        </label>
        <span class="help">No value changed by more than ${largestChange(data.before, data.after)} of 255.</span>
      `}
      <button type="button" aria-pressed=${peeking} onPointerDown=${peek(true)} onPointerUp=${peek(false)} onPointerLeave=${peek(false)}
        onKeyDown=${(event) => event.key === " " && setPeeking(true)} onKeyUp=${peek(false)} onBlur=${peek(false)}>
        Hold to compare
      </button>
    </div>
  `;
}
