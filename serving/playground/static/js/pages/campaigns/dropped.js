/** Files that are dropped anywhere on the page, those in folders too. */
import { useTransfer } from "../../drop.js";

/** @returns {boolean} whether some hover over the page */
export function useDroppedFiles(take) {
  return useTransfer(async (transfer, kind) => {
    if (kind !== "drop") return;
    // What was dropped is gone after the first wait: so all of it is taken before.
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const plain = [...transfer.files];
    const found = entries.length ? (await Promise.all(entries.map(filesIn))).flat() : plain;
    if (found.length) take(found);
  });
}

/** A file, or all files below a folder, with their paths; what cannot be read is left out. */
async function filesIn(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (!file || file.name.startsWith(".")) return [];
    const path = entry.fullPath.slice(1);
    // A folder that is chosen with a button gives its files a path; one that is dropped does not.
    if (path.includes("/")) Object.defineProperty(file, "webkitRelativePath", { value: path });
    return [file];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) {
      found.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
      return (await Promise.all(found.map(filesIn))).flat();
    }
    found.push(...some);
  }
}
