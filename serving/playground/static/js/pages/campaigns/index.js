/** Campaigns. */
import { html } from "../../dom.js";

export const CampaignsPage = () => html`<h1>Campaigns</h1>`;
