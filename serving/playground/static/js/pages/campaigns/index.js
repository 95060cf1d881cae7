/** Campaigns: attacks on many images. The list, a new one, or one of them. */
import { html } from "../../dom.js";
import { JobPage } from "./job.js";
import { ListPage } from "./list.js";
import { NewPage } from "./new.js";

export function CampaignsPage({ parts, query }) {
  const [first] = parts;
  if (!first) return html`<${ListPage} before=${query.get("before")} state=${query.get("state")} />`;
  if (first === "new") return html`<${NewPage} query=${query} />`;
  return html`<${JobPage} key=${first} id=${first} />`;
}
