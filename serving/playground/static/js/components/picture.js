/** A small image, shown large without smoothing: its pixels are what it is about. */
import { html } from "../dom.js";

export const Picture = ({ src, alt, caption, children, size }) => html`
  <figure class="picture" data-size=${size}>
    ${children || html`<img src=${src} alt=${alt} />`}
    ${caption && html`<figcaption>${caption}</figcaption>`}
  </figure>
`;
