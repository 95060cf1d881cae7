/** Models: all that are served, or one of them. */
import { Empty, Loading, ProblemNote } from "../../components/problem.js";
import { html, useEffect, useRef } from "../../dom.js";
import { useModel, useModels } from "../../models.js";
import { link } from "../../router.js";
import { useBack } from "../../store.js";
import { ModelList } from "./list.js";
import { OneModel } from "./one.js";

export function ModelsPage({ parts }) {
  const models = useModels();
  const [name, version] = parts;
  useBack(models.reload);
  const shown = useRef(parts.join("/"));
  useEffect(() => {
    // Whoever follows a link to a model begins at its top, with the keyboard too.
    if (shown.current !== parts.join("/")) {
      document.getElementById("main").focus();
      scrollTo(0, 0);
    }
    shown.current = parts.join("/");
  }, [name, version]);
  if (models.error) return html`<h1>Models</h1><${ProblemNote} problem=${models.error} retry=${models.reload} />`;
  if (!models.data) return html`<h1>Models</h1><${Loading} what="Asking which models there are …" />`;
  if (name) return html`<${One} key=${`${name}/${version}`} models=${models.data} name=${name} version=${version} />`;
  if (!models.data.models.length) return html`<h1>Models</h1><${Empty} title="No model is served">Put a bundle into the model store, and reload.<//>`;
  return html`<${ModelList} models=${models.data.models} chosen=${models.data.default} />`;
}

function One({ models, name, version }) {
  const model = useModel(name, version);
  useBack(model.reload);
  useEffect(() => {
    document.title = `${name} · Holdfast`;
    return () => {
      document.title = "Models · Holdfast";
    };
  }, [name]);
  return html`
    <p><a href=${link(["models"])}>← All models</a></p>
    ${model.error
      ? html`<h1>${name}</h1><${ProblemNote} problem=${model.error} retry=${model.reload} />`
      : model.data
        ? html`<${OneModel} model=${model.data} summary=${models.models.find((each) => each.name === name)} isDefault=${models.default === name} />`
        : html`<h1>${name}</h1><${Loading} what="Asking about the model …" />`}
  `;
}
