/** Small pictures; the words beside them say the same. */
import { html } from "../dom.js";

const PATHS = {
  held: "M12 3l7 3v5c0 5-3.2 8.4-7 10-3.8-1.6-7-5-7-10V6z M8.5 12l2.5 2.5 4.5-5",
  fooled: "M12 3l7 3v5c0 5-3.2 8.4-7 10-3.8-1.6-7-5-7-10V6z M9 9l6 6 M15 9l-6 6",
  warning: "M12 4l9 16H3z M12 10v4 M12 17v.5",
  image: "M4 5h16v14H4z M4 16l5-5 4 4 3-3 4 4 M15 9h.5",
  camera: "M4 8h4l1.5-2h5L16 8h4v11H4z M12 16.5a3.5 3.5 0 100-7 3.5 3.5 0 000 7z",
  key: "M15 9a3 3 0 11-2.2 5L7 20H4v-3l5.9-5.9A3 3 0 0115 9z",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8z M12 2v3 M12 19v3 M2 12h3 M19 12h3 M5 5l2 2 M17 17l2 2 M5 19l2-2 M17 7l2-2",
  moon: "M20 14.5A8 8 0 019.5 4a8 8 0 1010.5 10.5z",
  system: "M4 5h16v11H4z M9 20h6 M12 16v4",
  play: "M8 5l11 7-11 7z",
  pause: "M8 5v14 M16 5v14",
  copy: "M9 9h11v11H9z M15 9V4H4v11h5",
  save: "M12 4v11 M7 11l5 5 5-5 M4 20h16",
  done: "M4 12l5 5 11-11",
  close: "M5 5l14 14 M19 5L5 19",
  plus: "M12 5v14 M5 12h14",
  grid: "M4 4h6v6H4z M14 4h6v6h-6z M4 14h6v6H4z M14 14h6v6h-6z",
  folder: "M3 6h7l2 2h9v11H3z",
  bin: "M5 7h14 M9 7V4h6v3 M7 7l1 13h8l1-13",
};

export const Icon = ({ name }) => html`
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${PATHS[name]} /></svg>
`;
