/** The images of a run: where it held, and where it broke. */
import { at, json } from "../../api.js";
import { Icon } from "../../components/icon.js";
import { Loading, ProblemNote } from "../../components/problem.js";
import { html, useEffect, useState } from "../../dom.js";
import { count } from "../../format.js";
import { key } from "../../session.js";
import { useAtom } from "../../store.js";
import { ImageDialog } from "./image-dialog.js";
import { budgetName, runName } from "./names.js";
import { Tile } from "./tile.js";

const A_PAGE = 60;

const OUTCOMES = { fooled: "It broke", held: "It held", "wrong before": "Wrong before" };

const counted = (run, outcome) => run.record.totals[outcome.replace(" ", "_")];

/** What there is to see of a run: what was looked at before, if it has such images. */
const worthSeeing = (run, before = "") => [before, ...Object.keys(OUTCOMES)].find((each) => each && counted(run, each) > 0) || "fooled";

export function Gallery({ id, runs }) {
  const [run, setRun] = useState(() => Math.max(0, runs.findIndex((each) => each.images_done > 0)));
  const [outcome, setOutcome] = useState(() => worthSeeing(runs[run]));
  const [beside, setBeside] = useState(false);
  const [open, setOpen] = useState(null);
  function look(next) {
    setRun(next);
    setOutcome(worthSeeing(runs[next], outcome));
  }
  const found = usePages(at("v1", "jobs", id, "images"), run, outcome);
  return html`
    <section class="card gallery" aria-labelledby="gallery">
      <div class="row spread">
        <h2 id="gallery">Where it held, and where it broke</h2>
        ${runs.length > 1 && html`
          <label class="row narrow"><span class="sr">Run</span>
            <select value=${run} onChange=${(event) => look(Number(event.currentTarget.value))}>
              ${runs.map((each, i) => html`<option value=${i}>${runName(each)}, ${budgetName(each.record.budget)}</option>`)}
            </select>
          </label>
        `}
      </div>
      <div class="row spread">
        <div class="row" role="group" aria-label="Which images">
          ${Object.entries(OUTCOMES).map(([each, title]) => html`
            <button type="button" class="chip ${each.split(" ")[0]}" aria-pressed=${outcome === each} onClick=${() => setOutcome(each)}>${title} <span class="value">${counted(runs[run], each)}</span></button>
          `)}
        </div>
        <label class="check"><input type="checkbox" checked=${beside} onChange=${(event) => setBeside(event.currentTarget.checked)} />Side by side</label>
      </div>
      ${!beside && html`<p class="help">Point at an image, or go to it with the keyboard, to see it as it was attacked; press it for all about it.</p>`}
      ${found.problem && html`<${ProblemNote} problem=${found.problem} retry=${found.more} />`}
      <ul class="tiles">
        ${found.images.map((image) => html`<li key=${image.index}><${Tile} image=${image} beside=${beside} onOpen=${setOpen} /></li>`)}
      </ul>
      ${!found.images.length && !found.loading && !found.problem && html`<p class="help">There are none.</p>`}
      ${found.loading && html`<${Loading} what="Fetching images …" />`}
      ${found.next && !found.loading && html`
        <div class="row"><button type="button" onClick=${found.more}><${Icon} name="plus" />More</button>
          <span class="help">${found.images.length.toLocaleString("en")} of ${count(found.total, "image")}</span></div>
      `}
      <${ImageDialog} image=${open} run=${runs[run]} onClose=${() => setOpen(null)} />
    </section>
  `;
}

const EMPTY = { images: [], total: 0, next: null, loading: true, problem: null };

/** The images so far; those of another run or outcome begin anew. */
function usePages(path, run, outcome) {
  const [state, setState] = useState(EMPTY);
  const [first, setFirst] = useState({ of: "", first: 0, turn: 0 });
  const secret = useAtom(key);
  const of = `${run} ${outcome}`;
  const from = first.of === of ? first.first : 0;
  useEffect(() => {
    const controller = new AbortController();
    setState((before) => (from ? { ...before, loading: true, problem: null } : EMPTY));
    const query = new URLSearchParams({ run: String(run), outcome, first: String(from), count: String(A_PAGE) });
    json(`${path}?${query}`, { signal: controller.signal }).then(
      ({ images, total, next }) => {
        if (controller.signal.aborted) return;
        setState((before) => ({ images: [...before.images, ...images], total, next: next ?? null, loading: false, problem: null }));
      },
      (problem) => controller.signal.aborted || setState((before) => ({ ...before, loading: false, problem })),
    );
    return () => controller.abort();
  }, [path, run, outcome, from, first.turn, secret]);
  const more = () => setFirst((before) => ({ of, first: state.images.length, turn: before.turn + 1 }));
  return { ...state, more };
}
