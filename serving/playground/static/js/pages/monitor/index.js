/** Monitor. */
import { html } from "../../dom.js";

export const MonitorPage = () => html`<h1>Monitor</h1>`;
