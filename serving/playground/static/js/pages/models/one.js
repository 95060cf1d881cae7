/** One version of a model: what it claims, what speaks against that, how it was made, and how to ask for it. */
import { Copy } from "../../components/copy.js";
import { Icon } from "../../components/icon.js";
import { html } from "../../dom.js";
import { link } from "../../router.js";
import { key } from "../../session.js";
import { describe } from "../../snippets.js";
import { useAtom } from "../../store.js";
import { Card } from "./card.js";
import { Claims } from "./claims.js";
import { Facts } from "./facts.js";
import { Measured } from "./measured.js";
import { Robustness } from "./robustness.js";
import { Section } from "./section.js";
import { Versions, share } from "./versions.js";

export function OneModel({ model, summary, isDefault }) {
  const other = model.version !== summary?.default;
  const target = { model: model.name, version: other ? model.version : "" };
  const secured = useAtom(key) !== "";
  return html`
    <div class="hero">
      <h1>${model.name} <small>version ${model.version}</small></h1>
      <p class="tags">
        ${isDefault && html`<span class="tag held" title="The one to ask, for whoever does not know">default model</span>`}
        ${other && html`<span class="tag unsure">${share(summary, model.version) || "answers only who names it"}</span>`}
        <span class="tag plain-tag">${model.dataset.name}, ${model.classes.length} classes</span>
        <span class="tag plain-tag">${model.method}</span>
        <span class="tag plain-tag">${model.architecture.name}</span>
      </p>
      ${model.description && html`<p>${model.description}</p>`}
      <div class="row">
        <a class="button primary" href=${link([], target)}><${Icon} name="image" />Probe it</a>
        ${!other && html`<a class="button" href=${link(["campaigns", "new"], target)}><${Icon} name="play" />Attack it with a campaign</a>`}
      </div>
    </div>
    <${Section} id="claims" title="What it claims, and what speaks against it"><${Claims} model=${model} /><//>
    <${Section} id="robustness" title="Attack by attack"><${Robustness} model=${model} /><//>
    <${Section} id="measured" title="Everything that was measured"><${Measured} model=${model} /><//>
    <${Facts} model=${model} />
    ${summary && html`<${Section} id="versions" title="Versions and their traffic"><${Versions} summary=${summary} version=${model.version} /><//>`}
    <${Section} id="card" title="The card">
      <${Card} model=${model} />
      <${Copy} label="All of this with curl" text=${describe(model, { address: location.origin, secured })} />
    <//>
  `;
}
