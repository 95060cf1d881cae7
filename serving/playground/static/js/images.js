/** Images: where they come from, and their pixels. */

/** An image that can be classified: a file's bytes, a name, and its class where that is known. */
export function chosen(blob, name, label = null) {
  return { blob, name, label, url: URL.createObjectURL(blob) };
}

/** The first image among files that were dropped, pasted or chosen; null if there is none. */
export function imageOf(transfer) {
  for (const item of transfer?.items || []) {
    const file = item.kind === "file" && item.getAsFile();
    if (file && (file.type.startsWith("image/") || !file.type)) return chosen(file, file.name || "pasted.png");
  }
  const file = [...(transfer?.files || [])].find((each) => each.type.startsWith("image/"));
  return file ? chosen(file, file.name) : null;
}

/** A blob from a file in base64. */
export function fromBase64(text, type = "image/png") {
  return new Blob([Uint8Array.from(atob(text), (character) => character.charCodeAt(0))], { type });
}

export const dataUrl = (picture) => `data:${picture.media_type || "image/png"};base64,${picture.base64 ?? picture}`;

/** An image's pixels, as it is, without the browser's colour management. */
export async function pixels(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** Draw how two images differ, `scale` times larger than life around mid-grey. */
export function drawDifference(canvas, before, after, scale) {
  canvas.width = before.width;
  canvas.height = before.height;
  const drawn = new ImageData(before.width, before.height);
  for (let i = 0; i < drawn.data.length; i += 1) {
    drawn.data[i] = i % 4 === 3 ? 255 : 127.5 + scale * (after.data[i] - before.data[i]);
  }
  canvas.getContext("2d").putImageData(drawn, 0, 0);
}

/** The largest change of a value, in 255ths. */
export function largestChange(before, after) {
  let largest = 0;
  for (let i = 0; i < before.data.length; i += 1) {
    largest = Math.max(largest, Math.abs(after.data[i] - before.data[i]));
  }
  return largest;
}

/** Have the browser save a file. */
export function download(blob, name) {
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(blob);
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10_000);
}
