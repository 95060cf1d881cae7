/** Files for a campaign: dropped anywhere on the page, or chosen; images, zip files and arrays. */
import { Icon } from "../../components/icon.js";
import { classes, html, useRef } from "../../dom.js";
import { bytes, count } from "../../format.js";
import { useDroppedFiles } from "./dropped.js";

const SHOWN = 30;

/** `refused`: what is wrong with a file, by its name. */
export function FilesField({ files, refused, onChange }) {
  const latest = useRef(files);
  latest.current = files;
  const add = (more) => {
    const there = new Set(latest.current.map(identity));
    onChange([...latest.current, ...more.filter((file) => !there.has(identity(file)))]);
  };
  const over = useDroppedFiles(add);
  const [some, folder] = [useRef(null), useRef(null)];
  const take = (event) => {
    add([...event.currentTarget.files]);
    event.currentTarget.value = "";
  };
  const bad = files.filter((file) => refused[file.name]);
  const first = [...bad, ...files.filter((file) => !refused[file.name])].slice(0, SHOWN);
  return html`
    <div class=${classes("drop", over && "over")}>
      <${Icon} name="image" />
      <div>
        <p><strong>${files.length ? `${count(files.length, "file")}, ${bytes(files.reduce((sum, file) => sum + file.size, 0))}` : "Drop files or folders anywhere"}</strong></p>
        <div class="row">
          <button type="button" onClick=${() => some.current.click()}><${Icon} name="image" />Open files</button>
          <button type="button" onClick=${() => folder.current.click()}><${Icon} name="folder" />Open a folder</button>
          ${files.length > 0 && html`<button type="button" onClick=${() => onChange([])}>Remove all</button>`}
        </div>
        <p class="help">Images (PNG, JPEG, WebP), zip files of images, and <code>.npz</code> arrays with <code>images</code> and <code>labels</code>.</p>
        <input ref=${some} class="sr" type="file" multiple tabindex="-1" aria-label="Files" accept="image/png,image/jpeg,image/webp,.zip,.npz" onChange=${take} />
        <input ref=${folder} class="sr" type="file" webkitdirectory tabindex="-1" aria-label="Folder" onChange=${take} />
      </div>
    </div>
    ${first.length > 0 && html`
      <ul class="files" aria-label="Files">
        ${first.map((file) => html`
          <li key=${identity(file)} class=${classes(refused[file.name] && "bad")}>
            <span><code>${file.webkitRelativePath || file.name}</code> <small>${bytes(file.size)}</small>
              ${refused[file.name] && html`<span class="complaint"> ${refused[file.name]}</span>`}</span>
            <button type="button" class="quiet small" onClick=${() => onChange(files.filter((each) => each !== file))}><${Icon} name="close" /><span class="sr">Remove ${file.name}</span></button>
          </li>
        `)}
        ${files.length > SHOWN && html`<li class="help">and ${count(files.length - SHOWN, "more file", "more files")}</li>`}
      </ul>
    `}
    ${bad.length > 0 && html`<div class="row"><button type="button" onClick=${() => onChange(files.filter((file) => !refused[file.name]))}>Remove what cannot be used</button></div>`}
  `;
}

const identity = (file) => `${file.webkitRelativePath || file.name}|${file.size}|${file.lastModified}`;
