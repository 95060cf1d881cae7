/** Campaigns: attacks on many images. The list, a new one, or one of them. */
import { html, useEffect, useRef } from "../../dom.js";
import { JobPage } from "./job.js";
import { ListPage } from "./list.js";
import { NewPage } from "./new.js";

export function CampaignsPage({ parts, query }) {
  const [first] = parts;
  const shown = useRef(first);
  useEffect(() => {
    // What led here is gone with the page that it was on: whoever uses the keyboard goes on from this one.
    if (shown.current !== first && document.activeElement === document.body) document.getElementById("main").focus();
    shown.current = first;
  }, [first]);
  if (!first) return html`<${ListPage} before=${query.get("before")} state=${query.get("state")} />`;
  if (first === "new") return html`<${NewPage} query=${query} />`;
  return html`<${JobPage} key=${first} id=${first} />`;
}
