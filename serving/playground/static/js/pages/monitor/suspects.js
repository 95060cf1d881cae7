/** How many images are suspect, against how many natural images alone would make. */

const Z = 1.959964;

/** Fewer than this tell nothing. */
const ENOUGH = 20;

/** The 95 % Wilson interval of a share. */
export function wilson(hits, of) {
  const share = hits / of;
  const middle = (share + (Z * Z) / (2 * of)) / (1 + (Z * Z) / of);
  const half = (Z / (1 + (Z * Z) / of)) * Math.sqrt((share * (1 - share)) / of + (Z * Z) / (4 * of * of));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

export const judged = ({ natural, uncertain, suspect }) => natural + uncertain + suspect;

/**
 * @param {{natural: number, uncertain: number, suspect: number}} total
 * @param {number | undefined} rate the share of natural images that the threshold is beyond
 * @returns {{kind: "none" | "unknown" | "few" | "usual" | "more", share: number, of: number}}
 */
export function suspicion(total, rate) {
  const of = judged(total);
  const share = of ? total.suspect / of : 0;
  if (!of) return { kind: "none", share, of };
  if (rate === undefined) return { kind: "unknown", share, of };
  if (of < ENOUGH) return { kind: "few", share, of };
  return { kind: wilson(total.suspect, of)[0] > rate ? "more" : "usual", share, of };
}
