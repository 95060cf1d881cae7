/**
 * Markdown as elements: headings, paragraphs, lists, quotes, tables, code, emphasis and links.
 *
 * A card may come from anybody. Nothing in it becomes markup: tags are shown as they are written, a link leads to
 * http(s) or into the card itself or is plain text, and an image is its words.
 */
import { html } from "./dom.js";
import { blocks } from "./markdown-blocks.js";

/** @param {{text: string, level?: number}} props the level is that of the first heading */
export const Markdown = ({ text, level = 1 }) => html`${blocks(text).map((block, i) => html`<${Block} block=${block} level=${level} place=${String(i + 1)} />`)}`;

function Block({ block, level, place }) {
  const { kind } = block;
  const nested = (list) => list.map((each, i) => html`<${Block} block=${each} level=${level} place=${`${place}.${i + 1}`} />`);
  if (kind === "heading") {
    const Heading = `h${Math.min(6, level + block.depth - 1)}`;
    return html`<${Heading} id=${idOf(slug(block.text))}>${inline(block.text)}<//>`;
  }
  if (kind === "code") return html`<pre tabindex="0"><code>${block.text}</code></pre>`;
  if (kind === "quote") return html`<blockquote>${nested(block.blocks)}</blockquote>`;
  if (kind === "list") {
    const List = block.ordered ? "ol" : "ul";
    return html`<${List} start=${block.ordered ? block.start : undefined}>
      ${block.items.map((item) => html`<li>${item.length === 1 && item[0].kind === "paragraph" ? inline(item[0].text) : nested(item)}</li>`)}
    <//>`;
  }
  if (kind === "rule") return html`<hr />`;
  if (kind === "table") return html`<${Table} table=${block} place=${place} />`;
  return html`<p>${inline(block.text)}</p>`;
}

function Table({ table: { head, aligns, rows }, place }) {
  const named = head.some(Boolean);
  const side = (i) => (aligns[i] === "right" ? "number" : undefined);
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label="Table, part ${place}">
      <table class="plain">
        ${named && html`<thead><tr>${head.map((cell, i) => (cell ? html`<th scope="col" class=${side(i)}>${inline(cell)}</th>` : html`<td></td>`))}</tr></thead>`}
        <tbody>
          ${rows.map((row) => html`
            <tr>
              ${head.map((_, i) => (i === 0 ? html`<th scope="row">${inline(row[i] || "")}</th>` : html`<td class=${side(i)}>${inline(row[i] || "")}</td>`))}
            </tr>
          `)}
        </tbody>
      </table>
    </div>
  `;
}

// No part looks further than a few thousand characters ahead, so that no card keeps a browser busy.
const INLINE =
  /\\([!-/:-@[-`{-~])|(?<!`)(`{1,9})(?!`)([^]{1,4000}?)(?<!`)\2(?!`)|!\[([^\]]{0,500})\]\([^)\s]{0,2000}\)|\[([^\]]{1,500})\]\(([^)\s]{1,2000})(?:\s+"[^"]{0,500}")?\)|<(https?:\/\/[^\s<>]{1,2000})>|(\*\*|(?<!\w)__)(?=\S)([^]{0,2000}?\S)\8|(\*|(?<!\w)_)(?=[^\s*_])([^]{0,2000}?[^\s*_])\10(?![\w*])/g;

/** A line's text with its code, emphasis and links, as elements and strings. */
function inline(text, depth = 0) {
  if (depth > 8) return [text];
  const found = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, escaped, , code, alt, words, target, address, , strong, , emphasised] = match;
    found.push(text.slice(from, match.index));
    from = match.index + whole.length;
    const within = (part) => inline(part, depth + 1);
    if (escaped) found.push(escaped);
    else if (code) found.push(html`<code>${code.replace(/^ (.*\S.*) $/s, "$1")}</code>`);
    else if (alt !== undefined) found.push(alt);
    else if (words) found.push(html`<${Link} target=${target}>${within(words)}<//>`);
    else if (address) found.push(html`<${Link} target=${address}>${address}<//>`);
    else if (strong) found.push(html`<strong>${within(strong)}</strong>`);
    else found.push(html`<em>${within(emphasised)}</em>`);
  }
  found.push(text.slice(from));
  return found;
}

function Link({ target, children }) {
  if (target.startsWith("#")) {
    const place = idOf(target.slice(1));
    // The address's part behind # is where one is in the page.
    const follow = (event) => {
      event.preventDefault();
      document.getElementById(place)?.scrollIntoView();
    };
    return html`<a href=${location.hash || "#/"} onClick=${follow}>${children}</a>`;
  }
  return isWeb(target) ? html`<a href=${target} target="_blank" rel="noopener noreferrer">${children}</a>` : html`<span>${children}</span>`;
}

function isWeb(target) {
  // An address without a scheme would lead into this server.
  return /^https?:\/\//i.test(target) && URL.canParse(target);
}

const slug = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}\s-]/gu, "").trim().replace(/\s+/g, "-");
const idOf = (name) => `md-${name}`;
