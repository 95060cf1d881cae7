/** The models that are served, with what matters for choosing one. */
import { Icon } from "../../components/icon.js";
import { ProblemNote } from "../../components/problem.js";
import { html } from "../../dom.js";
import { percent } from "../../format.js";
import { defenceName, useModel } from "../../models.js";
import { link } from "../../router.js";
import { useBack } from "../../store.js";
import { ClaimBar, sure, underWhat } from "./claim.js";
import { claims, doubts } from "./figures.js";

export const ModelList = ({ models, chosen }) => html`
  <div class="hero">
    <h1>Models</h1>
    <p>
      What each holds under, measured on the graphs that are served. An accuracy under attack is an upper bound: a stronger
      attack can only lower it.
    </p>
  </div>
  <ul class="legend key" aria-hidden="true">
    <li><span class="claim-bar"><span class="clean"></span></span>right on images as they are</li>
    <li><span class="claim-bar"><span class="worst"></span></span>still right under the worst attack measured</li>
    <li><span class="claim-bar"><span class="whisker"></span></span>its 95 % interval</li>
  </ul>
  <ul class="models">
    ${models.map((model) => html`<li key=${model.name}><${Entry} model=${model} isDefault=${model.name === chosen} /></li>`)}
  </ul>
`;

function Entry({ model, isDefault }) {
  const found = useModel(model.name);
  useBack(found.reload);
  return html`
    <article class="card model-entry" aria-labelledby="model-${model.name}">
      <div class="who">
        <h2 id="model-${model.name}"><a href=${link(["models", model.name])}>${model.name}</a></h2>
        <p class="tags">
          ${isDefault && html`<span class="tag held" title="The one to ask, for whoever does not know">default</span>`}
          <span class="tag plain-tag">${model.dataset}, ${model.classes} classes</span>
          ${found.data && html`<span class="tag plain-tag">${found.data.method}</span>`}
          ${model.versions.length > 1 && html`<span class="tag plain-tag">${model.versions.length} versions</span>`}
        </p>
        ${model.description && html`<p class="help">${model.description}</p>`}
        <p class="row act">
          <a href=${link(["models", model.name])} aria-label="More about ${model.name}">More about it</a>
          <a href=${link([], { model: model.name })} aria-label="Probe ${model.name}">Probe it</a>
        </p>
      </div>
      <div class="held-under">
        ${found.error
          ? html`<${ProblemNote} problem=${found.error} retry=${found.reload} />`
          : found.data
            ? html`<${Summary} model=${found.data} />`
            : html`<p class="loading"><span class="spinner"></span>Reading its figures …</p>`}
      </div>
    </article>
  `;
}

function Summary({ model }) {
  const all = claims(model);
  const doubted = doubts(model);
  return html`
    ${all.map((claim) => html`
      <div key=${claim.defence} class="claim-row">
        ${all.length > 1 && html`<h3>${defenceName(claim.defence)}</h3>`}
        <${ClaimBar} ...${claim} />
        <p class="claim-figures">
          <span class="figure">
            ${claim.clean ? html`<strong>${percent(claim.clean.accuracy)}</strong> clean <small>${sure(claim.clean)}</small>` : "clean: not measured"}
          </span>
          <span class="figure">
            ${claim.worst
              ? html`<strong>${percent(claim.worst.accuracy)}</strong> ${underWhat(claim.worst)} <small>${sure(claim.worst)}</small>`
              : "robustness: not measured"}
          </span>
        </p>
      </div>
    `)}
    ${doubted.length > 0 && html`
      <div class="note doubt">
        <${Icon} name="warning" />
        <div><strong>Do not rely on the robust figures</strong>${doubted.map(({ doubt }) => html`<p>${doubt}</p>`)}</div>
      </div>
    `}
  `;
}
