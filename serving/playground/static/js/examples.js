/** Images to try: of the test sets that the shipped models were measured on. */
import { json, send } from "./api.js";

const FOLDER = new URL("../examples/", import.meta.url);
// The page begins with an image that most models know well.
const FIRST = ["ship", "7"];

let list;

/** @returns {Promise<{name: string, label: string, url: string, first: boolean, load: () => Promise<Blob>}[]>} */
export async function examplesOf(dataset) {
  list ??= json(new URL("index.json", FOLDER)).catch(() => {
    list = undefined;
    return {};
  });
  const found = (await list)[dataset]?.images || [];
  const seen = new Set();
  return found.map(({ file, label }) => {
    const url = new URL(file, FOLDER).href;
    const first = !seen.has(label) && FIRST.includes(label);
    seen.add(label);
    return { name: file.split("/").at(-1), label, url, first, load: async () => (await send(url)).blob() };
  });
}
