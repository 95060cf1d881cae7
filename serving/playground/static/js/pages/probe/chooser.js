/** Where the image comes from: an example, a file, the clipboard, a drop anywhere on the page, the camera. */
import { Icon } from "../../components/icon.js";
import { classes, html, useEffect, useRef, useState } from "../../dom.js";
import { useTransfer } from "../../drop.js";
import { examplesOf } from "../../examples.js";
import { chosen, imageOf } from "../../images.js";
import { useLoaded } from "../../store.js";
import { Camera } from "./camera.js";

export function Chooser({ dataset, input, image, onChoose }) {
  const examples = useLoaded(() => (dataset ? examplesOf(dataset) : Promise.resolve(undefined)), [dataset]);
  const [filming, setFilming] = useState(false);
  const [said, setSaid] = useState("");
  const over = useTransfer((transfer, kind) => {
    const found = imageOf(transfer);
    // Words may be pasted into a field; what is dropped is meant for this.
    if (found || kind === "drop") take(found);
  });
  const file = useRef(null);
  // Raised by every choice: an example that arrives after the next one is not what is wanted any more.
  const choices = useRef(0);

  function take(found) {
    if (!found) return setSaid("That is no image: a PNG, JPEG, WebP, GIF or BMP file is needed.");
    choices.current += 1;
    setSaid("");
    onChoose(found);
  }

  async function choose(example) {
    const mine = (choices.current += 1);
    try {
      const blob = await example.load();
      if (choices.current === mine) take(chosen(blob, example.name, example.label));
    } catch {
      if (choices.current === mine) setSaid("The example cannot be loaded: the server does not answer.");
    }
  }

  // Something is there to look at from the start; an example of other data is of no use to this model.
  useEffect(() => {
    const list = examples.data;
    if (list?.length && (!image || (image.label && !list.some((each) => each.label === image.label)))) {
      choose(list.find((each) => each.first) || list[0]);
    }
  }, [examples.data]);

  return html`
    <div class=${classes("drop", over && "over")}>
      ${image ? html`<img src=${image.url} alt="The chosen image, ${image.name}" />` : html`<${Icon} name="image" />`}
      <div>
        <p><strong>${image ? image.name : "Drop an image anywhere"}</strong></p>
        <div class="row">
          <button type="button" onClick=${() => file.current.click()}><${Icon} name="image" />Open a file</button>
          ${navigator.mediaDevices?.getUserMedia && html`<button type="button" onClick=${() => setFilming(true)}><${Icon} name="camera" />Camera</button>`}
        </div>
        <p class="help">
          Or drop it anywhere, or paste it. ${input && `The model sees ${input.width}×${input.height} pixels of it.`}
        </p>
        <input ref=${file} class="sr" type="file" accept="image/*" tabindex="-1" aria-label="Image file"
          onChange=${(event) => { take(imageOf({ files: event.currentTarget.files })); event.currentTarget.value = ""; }} />
      </div>
    </div>
    <p class="complaint" role="alert">${said}</p>
    ${examples.data?.length > 0 && html`
      <p class="help" id="examples">Test images that the model has not seen in training:</p>
      <div class="examples" role="group" aria-labelledby="examples">
        ${examples.data.map((example) => html`
          <button type="button" key=${example.url} aria-pressed=${image?.name === example.name} title=${example.label} onClick=${() => choose(example)}>
            <img src=${example.url} alt=${example.label} width="40" height="40" loading="lazy" />
          </button>
        `)}
      </div>
    `}
    <${Camera} open=${filming} onClose=${() => setFilming(false)} onTake=${take} />
  `;
}
