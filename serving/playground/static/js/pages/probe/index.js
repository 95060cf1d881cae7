/** Probe: one image, what the model says of it, and what an attack makes of that. */
import { ProblemNote, Loading, Empty } from "../../components/problem.js";
import { html, useEffect, useRef, useState } from "../../dom.js";
import { useAttacks, useModel, useModels } from "../../models.js";
import { go } from "../../router.js";
import { useBack } from "../../store.js";
import { Answers } from "./answers.js";
import { AttackForm } from "./attack-form.js";
import { Attempts } from "./attempts.js";
import { Chooser } from "./chooser.js";
import { Outcome } from "./outcome.js";
import { useAttack } from "./use-attack.js";

export function ProbePage({ query }) {
  const models = useModels();
  const name = query.get("model") || models.data?.default;
  const version = query.get("version");
  const model = useModel(name, version);
  const [image, setImage] = useState(null);
  useBack(() => (models.reload(), model.reload()));
  if (models.error) return html`<h1>Probe a model</h1><${ProblemNote} problem=${models.error} retry=${models.reload} />`;
  if (!models.data) return html`<h1>Probe a model</h1><${Loading} what="Asking which models there are …" />`;
  if (!models.data.models.length) return html`<h1>Probe a model</h1><${Empty} title="No model is served">Put a bundle into the model store, and reload.<//>`;
  const choose = html`
    <section class="card choose" key="choose" aria-labelledby="choose">
      <h2 id="choose">Image and model</h2>
      <${ModelSelect} models=${models.data.models} name=${name} version=${version} />
      <${Chooser} dataset=${model.data?.dataset.name} input=${model.data?.input} image=${image} onChoose=${setImage} />
    </section>
  `;
  return html`
    <div class="hero">
      <h1>See a robust model hold, and see it break</h1>
      <p>
        A change too small to see can change what a model sees. Choose an image, attack it, and watch what each
        defence makes of it.
      </p>
    </div>
    <div class="probe">
      ${model.data
        ? html`<${Probe} models=${models.data.models} model=${model.data} version=${version} image=${image}>${choose}<//>`
        : html`
            <div class="left">${choose}</div>
            <div class="right card">
              ${model.error ? html`<${ProblemNote} problem=${model.error} retry=${model.reload} />` : html`<${Loading} what="Asking about the model …" />`}
            </div>
          `}
    </div>
  `;
}

function Probe({ models, model, version, image, children }) {
  const attacks = useAttacks();
  const attack = useAttack(model, image);
  const outcome = useRef(null);
  // On a small screen it is far below the button that was pressed, where the keyboard stays.
  useEffect(() => {
    const top = outcome.current?.getBoundingClientRect().top ?? 0;
    if (attack.answer && (top < 0 || top > innerHeight * 0.8)) outcome.current.scrollIntoView({ block: "start" });
  }, [attack.answer]);
  return html`
    <div class="left">
      ${children}
      <section class="card form" aria-labelledby="attack">
        <h2 id="attack">Attack it</h2>
        ${attacks.error && html`<${ProblemNote} problem=${attacks.error} retry=${attacks.reload} />`}
        ${attacks.data && html`<${AttackForm} attacks=${attacks.data.attacks} model=${model} version=${version} image=${image} attack=${attack} />`}
      </section>
    </div>
    <div class="right">
      <section class="card answers" aria-labelledby="answers">
        <h2 id="answers">What the model says</h2>
        <${Answers} model=${model} image=${image} />
      </section>
      <section class="card outcome" aria-labelledby="outcome" ref=${outcome}>
        <h2 id="outcome">What the attack made of it</h2>
        <${Outcome} models=${models} model=${model} attack=${attack} />
      </section>
    </div>
    <${Attempts} attempts=${attack.attempts} />
  `;
}

function ModelSelect({ models, name, version }) {
  return html`
    <div class="field">
      <label for="model">Model</label>
      <select id="model" value=${name} onChange=${(event) => go([], { model: event.currentTarget.value }, { replace: true })}>
        ${models.map((each) => html`<option value=${each.name}>${each.name}</option>`)}
      </select>
      <p class="help">${version && html`<strong>Version ${version}.</strong>${" "}`}${models.find((each) => each.name === name)?.description}</p>
    </div>
  `;
}
