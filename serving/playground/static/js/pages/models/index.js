/** Models. */
import { html } from "../../dom.js";

export const ModelsPage = () => html`<h1>Models</h1>`;
