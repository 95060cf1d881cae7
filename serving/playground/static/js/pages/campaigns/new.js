/** A new campaign: models, attacks, images. */
import { at, json } from "../../api.js";
import { Loading, ProblemNote } from "../../components/problem.js";
import { html, useEffect, useMemo, useRef } from "../../dom.js";
import { examplesOf } from "../../examples.js";
import { useAttacks, useModel, useModels } from "../../models.js";
import { go, link } from "../../router.js";
import { key } from "../../session.js";
import { useAtom, useBack, useLoaded } from "../../store.js";
import { AttacksField } from "./attacks-field.js";
import { change, draft, entryOf, expand, fresh, prefilled, requestOf } from "./draft.js";
import { ImagesField } from "./images-field.js";
import { LabelsField } from "./labels-field.js";
import { ModelsField } from "./models-field.js";
import { placed } from "./refusal.js";
import { Summary } from "./summary.js";
import { useSubmission } from "./use-submission.js";

export function NewPage({ query }) {
  const models = useModels();
  const attacks = useAttacks();
  const chosen = useAtom(draft);
  const name = query.get("model") || (chosen && Object.keys(chosen.models)[0]) || models.data?.default;
  const model = useModel(name);
  // Whether this caller may have jobs at all is better known before than after the form is filled in.
  const allowed = useLoaded((signal) => json("/v1/jobs?limit=1", { signal }), [useAtom(key)]);
  const failed = [models, attacks, model, allowed].find((each) => each.error);
  const reload = () => [models, attacks, model, allowed].forEach((each) => each.reload());
  useBack(() => failed && reload());
  const ready = models.data && attacks.data && model.data?.name === name && allowed.data;
  useEffect(() => {
    if (ready) begin(models.data, model.data, attacks.data.attacks, query);
  }, [Boolean(ready), query.toString()]);
  return html`
    <div class="hero">
      <p class="help"><a href=${link(["campaigns"])}>Campaigns</a></p>
      <h1>New campaign</h1>
      <p>Every attack, at every budget, on every model behind every defence that you choose, over all images.</p>
    </div>
    ${failed && html`<${ProblemNote} problem=${failed.error} retry=${reload} />`}
    ${!failed && !(ready && chosen) && html`<${Loading} what="Asking what there is to choose from …" />`}
    ${models.data && attacks.data && model.data && allowed.data && chosen && html`<${Form} chosen=${chosen} models=${models.data.models} attacks=${attacks.data.attacks} model=${model.data} />`}
  `;
}

/** A first draft; or what the address asks for, in the draft that there is. */
function begin(models, model, attacks, query) {
  const wanted = attacks.find((each) => each.name === query.get("attack"));
  const entry = wanted && prefilled(entryOf(wanted, model), query);
  const attack = wanted || attacks.find((each) => each.name === "pgd") || attacks[0];
  const there = draft.get();
  // Another key may show other models.
  if (!there || !Object.keys(there.models).every((name) => models.models.some((each) => each.name === name))) {
    draft.set({ ...fresh({ model, attack }), ...(entry && { attacks: [entry] }) });
  } else if (query.get("model") || wanted) {
    change({
      ...(query.get("model") && { models: { [model.name]: there.models[model.name] || [model.defences[0]] } }),
      ...(wanted && { attacks: [entry] }),
    });
  }
}

function Form({ chosen, models, attacks, model }) {
  const dataset = models.find((each) => chosen.models[each.name])?.dataset;
  const examples = useLoaded(() => (dataset ? examplesOf(dataset) : Promise.resolve([])), [dataset]);
  useEffect(() => {
    // Of other data there are none.
    if (examples.data?.length === 0 && chosen.source === "examples") change({ source: "files", labels: "" });
  }, [examples.data]);
  const taken = useMemo(
    () => (examples.data || []).filter((each) => !chosen.left.includes(each.url)),
    [examples.data, chosen.left],
  );
  const expanded = useMemo(() => expand(chosen.attacks, attacks), [chosen.attacks, attacks]);
  const sent = useRef(expanded);
  const submission = useSubmission((job) => {
    draft.set(null);
    go(["campaigns", job.id]);
  });
  const said = useMemo(() => placed(submission.problem, sent.current), [submission.problem]);

  const request = useMemo(() => requestOf(chosen, expanded, taken), [chosen, expanded, taken]);
  async function submit() {
    sent.current = expanded;
    await submission.send(request, await filesOf(chosen, taken));
  }
  function edit(patch) {
    // What the server said was of what was sent; what is changed now may be right.
    if (submission.problem) submission.forget();
    change(patch);
  }
  const arrays = chosen.source === "files" && chosen.files.some((file) => /\.npz$/i.test(file.name));
  return html`
    <div class="campaign-form">
      <form onSubmit=${(event) => event.preventDefault()} novalidate>
        <section class="card" aria-labelledby="models">
          <h2 id="models">Models</h2>
          <${ModelsField} models=${models} chosen=${chosen.models} onChange=${(next) => edit({ models: next })} />
        </section>
        <section class="card" aria-labelledby="attacks">
          <h2 id="attacks">Attacks</h2>
          <${AttacksField} attacks=${attacks} entries=${chosen.attacks} model=${model} classNames=${model.classes} complaints=${said.entries} onChange=${(next) => edit({ attacks: next })} />
        </section>
        <section class="card" aria-labelledby="images">
          <h2 id="images">Images</h2>
          <${ImagesField} draft=${chosen} examples=${examples} refused=${said.files} onChange=${edit} />
          <${LabelsField} draft=${chosen} complaint=${said.labels} onChange=${(labels) => edit({ labels })} />
          ${arrays && html`<${Layout} value=${chosen.layout} onChange=${(layout) => edit({ layout })} />`}
        </section>
      </form>
      <${Summary} draft=${chosen} request=${request} attacks=${attacks} expanded=${expanded} examples=${taken} submission=${submission} onChange=${edit} onSubmit=${submit} />
    </div>
  `;
}

const Layout = ({ value, onChange }) => html`
  <div class="field">
    <label for="layout">Layout of the array</label>
    <select id="layout" value=${value} onChange=${(event) => onChange(event.currentTarget.value)}>
      <option value="auto">by its shape</option>
      <option value="nchw">images × channels × height × width</option>
      <option value="nhwc">images × height × width × channels</option>
    </select>
  </div>
`;

/** What is sent, with the names that it is sent under. */
async function filesOf(chosen, examples) {
  if (chosen.source === "files") return chosen.files.map((file) => ({ name: file.name, blob: file }));
  if (chosen.source === "dataset") return [];
  return Promise.all(examples.map(async (each) => ({ name: each.name, blob: await each.load() })));
}
