/** The frame around every page: where one is, the key, the theme, and whether the server is there. */
import { reachable, state } from "./api.js";
import { Icon } from "./components/icon.js";
import { Loading, ProblemNote } from "./components/problem.js";
import { html, useEffect, useRef, useState } from "./dom.js";
import { KeyDialog } from "./key-dialog.js";
import { ProbePage } from "./pages/probe/index.js";
import { Problem } from "./problem.js";
import { link, route } from "./router.js";
import { key, keyDialog, theme } from "./session.js";
import { useAtom, useLoaded } from "./store.js";

// Most come for the first page; the scripts of the others are fetched when they are gone to.
const PAGES = {
  probe: { title: "Probe", page: ProbePage },
  campaigns: { title: "Campaigns", load: async () => (await import("./pages/campaigns/index.js")).CampaignsPage },
  models: { title: "Models", load: async () => (await import("./pages/models/index.js")).ModelsPage },
  monitor: { title: "Monitor", load: async () => (await import("./pages/monitor/index.js")).MonitorPage },
};

export function App() {
  const { parts, query } = useAtom(route);
  const name = parts[0] || "probe";
  const main = useRef(null);
  const shown = useRef(name);
  const { title, page: Page = Later, load } = PAGES[name] || PAGES.probe;
  useEffect(() => {
    document.title = `${title} · Holdfast`;
    // Whoever follows a link with the keyboard goes on from the new page.
    if (shown.current !== name) main.current.focus();
    shown.current = name;
  }, [name]);
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>To the content</a>
    <header class="top">
      <a class="brand" href="#/"><img src=${new URL("../icon.svg", import.meta.url)} alt="" width="28" height="28" />Holdfast</a>
      <nav aria-label="Pages">
        ${Object.entries(PAGES).map(([id, each]) => html`
          <a href=${link(id === "probe" ? [] : [id])} aria-current=${id === name ? "page" : undefined} onPointerEnter=${() => each.load?.().catch(() => {})}>${each.title}</a>
        `)}
        <a href="/docs">API</a>
      </nav>
      <div class="row tools"><${KeyButton} /><${ThemeButton} /></div>
    </header>
    <${ServerNote} />
    <main id="main" tabindex="-1" ref=${main}><${Page} key=${name} load=${load} parts=${parts.slice(1)} query=${query} /></main>
    <${KeyDialog} />
  `;
}

/** A page whose scripts are on their way. */
function Later({ load, ...props }) {
  const { data: Page, error } = useLoaded(load, [load]);
  if (error) return html`<${ProblemNote} problem=${Problem.gone()} retry=${() => location.reload()} />`;
  return Page ? html`<${Page} ...${props} />` : html`<${Loading} what="Loading …" />`;
}

function KeyButton() {
  const has = useAtom(key) !== "";
  return html`
    <button type="button" class="quiet" onClick=${() => keyDialog.set("asked")} aria-label=${has ? "API key: given" : "API key: none"}>
      <${Icon} name="key" /><span class="wide">${has ? "Key given" : "Key"}</span>
    </button>
  `;
}

const THEMES = ["system", "light", "dark"];
const THEME_ICONS = { system: "system", light: "sun", dark: "moon" };

function ThemeButton() {
  const chosen = useAtom(theme);
  return html`
    <button
      type="button"
      class="quiet"
      aria-label="Theme: ${chosen}"
      title="Theme: ${chosen}"
      onClick=${() => theme.set(THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length])}
    ><${Icon} name=${THEME_ICONS[chosen]} /></button>
  `;
}

const A_MOMENT = 1000;

/** The server has gone, or is not ready yet; it is asked again until it is. */
function ServerNote() {
  const there = useAtom(reachable);
  const [now, setNow] = useState("ready");
  useEffect(() => {
    let stopped = false;
    let timer;
    async function look() {
      const found = await state();
      if (stopped) return;
      setNow((before) => {
        // It may have been gone for a single request; pages that ask again at once might lose that one too.
        if (found === "ready" && !(there && before === "ready")) setTimeout(() => dispatchEvent(new Event("holdfast:back")), A_MOMENT);
        return found;
      });
      if (found !== "ready") timer = setTimeout(look, 2000);
    }
    look();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [there]);
  if (there && now === "ready") return html`<div role="status"></div>`;
  return html`
    <div class="banner" role="status">
      <span class="spinner"></span>
      ${there && now === "loading" ? "The server is there and loads its models." : "The server does not answer. It is asked again every two seconds; what you chose stays."}
    </div>
  `;
}
