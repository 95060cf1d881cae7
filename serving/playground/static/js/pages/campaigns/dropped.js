/** Files that are dropped anywhere on the page, those in folders too. */
import { useEffect, useRef, useState } from "../../dom.js";

/** @returns {boolean} whether some hover over the page */
export function useDroppedFiles(take) {
  const [over, setOver] = useState(false);
  const latest = useRef(take);
  latest.current = take;
  useEffect(() => {
    const hover = (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      setOver(true);
    };
    const leave = (event) => event.relatedTarget || setOver(false);
    const drop = async (event) => {
      event.preventDefault();
      setOver(false);
      // What was dropped is gone after the first wait: so all of it is taken before.
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
      const plain = [...event.dataTransfer.files];
      const found = entries.length ? (await Promise.all(entries.map(filesIn))).flat() : plain;
      if (found.length) latest.current(found);
    };
    const listeners = { dragover: hover, dragleave: leave, drop };
    for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener);
    return () => {
      for (const [name, listener] of Object.entries(listeners)) removeEventListener(name, listener);
    };
  }, []);
  return over;
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
