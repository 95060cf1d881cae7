/** Accuracy on images as they are and under the worst attack, always together. */
import { html } from "../../dom.js";
import { count, percent } from "../../format.js";
import { attacksOf } from "./figures.js";

/** One track from 0 to 100 %: pale to where clean accuracy is, dark to where it falls, and how sure that is. */
export const ClaimBar = ({ clean, worst }) => html`
  <span class="claim-bar" aria-hidden="true">
    ${clean && html`<span class="clean" style=${{ width: `${100 * clean.accuracy}%` }}></span>`}
    ${worst && html`
      <span class="worst" style=${{ width: `${100 * worst.accuracy}%` }}></span>
      <span class="whisker" style=${between(worst.interval)}></span>
    `}
  </span>
`;

/** Where an interval is on a track. */
export const between = ([low, high]) => ({ left: `${100 * low}%`, width: `${100 * (high - low)}%` });

/** `15.9 to 24.9 %` */
export const interval = ([low, high]) => `${(100 * low).toFixed(1)} to ${percent(high)}`;

export const underWhat = (figure) => (attacksOf(figure) > 1 ? `under the worst of ${attacksOf(figure)} attacks` : `under ${figure.name}`);

export const sure = (figure) => `${interval(figure.interval)}, ${count(figure.images, "image")}`;
