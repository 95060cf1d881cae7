/** The same attack on every other model of the same data: what a defence is worth shows beside those without it. */
import { at, json } from "../../api.js";
import { ProblemNote } from "../../components/problem.js";
import { classes, html, useEffect, useRef, useState } from "../../dom.js";
import { budget, percent } from "../../format.js";
import { query } from "../../snippets.js";

export function Compare({ models, model, attack }) {
  const others = models.filter((each) => each.name !== model.name && each.dataset === model.dataset.name);
  const [found, setFound] = useState([]);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const controller = useRef(null);
  useEffect(() => {
    setFound([]);
    setProblem(null);
    setBusy(false);
    return () => controller.current?.abort();
  }, [attack.answer]);
  if (!others.length) return null;

  async function run() {
    const { signal } = (controller.current = new AbortController());
    // The label is the one that was to be left here, whoever said so; a defence that others lack is not asked for.
    const request = { ...attack.request, label: attack.answer.label, defence: null };
    setBusy(true);
    setFound([]);
    setProblem(null);
    try {
      for (const other of others) {
        const answer = await json(`${at("v1", "models", other.name, "attack")}?${query(request)}`, {
          method: "POST",
          body: attack.image.blob,
          headers: { "Content-Type": attack.image.blob.type || "application/octet-stream" },
          signal,
        });
        if (signal.aborted) return;
        setFound((before) => [...before, answer]);
      }
    } catch (error) {
      if (!signal.aborted) setProblem(error);
    }
    if (!signal.aborted) setBusy(false);
  }

  return html`
    <div class="compare">
      <h3>The same attack on other models</h3>
      ${!found.length && !busy && html`<div class="row"><button type="button" onClick=${run}>Attack ${others.length === 1 ? others[0].name : `the other ${others.length} models`}</button><span class="help">Each is attacked anew, by its own gradient.</span></div>`}
      ${(found.length > 0 || busy) && html`
        <div class="scroll" tabindex="0" role="region" aria-label="The same attack on other models">
          <table class="plain" aria-busy=${busy}>
            <thead><tr><th>Model</th><th>Before</th><th>After</th><th>L∞</th><th>Outcome</th></tr></thead>
            <tbody>
              ${[attack.answer, ...found].map((answer) => html`<${Row} key=${answer.model} answer=${answer} />`)}
              ${busy && others.slice(found.length).map((other) => html`<tr key=${other.name}><td>${other.name}</td><td colspan="4" class="help">…</td></tr>`)}
            </tbody>
          </table>
        </div>
      `}
      ${problem && html`<${ProblemNote} problem=${problem} retry=${run} />`}
    </div>
  `;
}

function Row({ answer }) {
  const { before, after_in_8_bits: after } = answer.predictions[answer.defence];
  return html`
    <tr>
      <td>${answer.model}</td>
      <td>${before.label} <span class="value">${percent(before.probability)}</span></td>
      <td>${after.label} <span class="value">${percent(after.probability)}</span></td>
      <td class="value">${budget(answer.reached_in_8_bits.linf)}</td>
      <td><span class=${classes("tag", { fooled: "fooled", held: "held" }[answer.outcome] || "unsure")}>${answer.outcome}</span></td>
    </tr>
  `;
}
