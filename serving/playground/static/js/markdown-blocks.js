/** The blocks of a Markdown text, as plain objects. */

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])([ \t]+)(?=\S)/;
const INDENTED = /^(?: {4}|\t)/;
const DIVIDER = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/** Deeper than this, quotes and lists are text. */
const DEEPEST = 8;

/** @param {string} text @returns {{kind: string}[]} */
export const blocks = (text) => read(text.replaceAll("\r\n", "\n").replaceAll("\0", "\ufffd").split("\n").map((line) => line.trimEnd()), 0);

function read(lines, depth) {
  const found = [];
  let i = 0;
  const take = (holds) => {
    const taken = [];
    while (i < lines.length && holds(lines[i])) taken.push(lines[i++]);
    return taken;
  };
  while (i < lines.length) {
    const line = lines[i];
    if (!line.trim()) i += 1;
    else if (FENCE.test(line)) found.push(fenced());
    else if (HEADING.test(line)) found.push(heading(lines[i++]));
    else if (RULE.test(line)) found.push(rule());
    else if (isTable(i)) found.push(table());
    else if (depth < DEEPEST && QUOTE.test(line)) {
      const quoted = take((each) => QUOTE.test(each)).map((each) => each.replace(QUOTE, ""));
      found.push({ kind: "quote", blocks: read(quoted, depth + 1) });
    } else if (depth < DEEPEST && ITEM.test(line)) found.push(list());
    else if (INDENTED.test(line)) found.push(indented());
    else found.push(paragraph());
  }
  return found;

  function fenced() {
    const [, mark] = FENCE.exec(lines[i++]);
    const end = new RegExp(`^ {0,3}${mark[0]}{${mark.length},}[ \\t]*$`);
    const text = take((line) => !end.test(line)).join("\n");
    i += 1;
    return { kind: "code", text };
  }

  function rule() {
    i += 1;
    return { kind: "rule" };
  }

  function indented() {
    const taken = take((line) => INDENTED.test(line) || !line.trim());
    return { kind: "code", text: taken.map((line) => line.replace(INDENTED, "")).join("\n").trimEnd() };
  }

  function isTable(at) {
    return lines[at].includes("|") && at + 1 < lines.length && DIVIDER.test(lines[at + 1]) && lines[at + 1].includes("-") && cells(lines[at]).length === cells(lines[at + 1]).length;
  }

  function table() {
    const head = cells(lines[i++]);
    const aligns = cells(lines[i++]).map((each) => (each.endsWith(":") ? "right" : "left"));
    const rows = take((line) => line.trim() && line.includes("|")).map(cells);
    return { kind: "table", head, aligns, rows };
  }

  function list() {
    const [, , first] = ITEM.exec(lines[i]);
    const ordered = /\d/.test(first);
    const items = [];
    while (i < lines.length) {
      const match = ITEM.exec(lines[i]);
      if (!match || /\d/.test(match[2]) !== ordered) break;
      const width = match[0].length;
      const item = [lines[i++].slice(width)];
      item.push(...take((line) => continues(line, width)).map((line) => line.slice(Math.min(width, line.length - line.trimStart().length))));
      items.push(read(item, depth + 1));
      while (i < lines.length && !lines[i].trim()) i += 1;
    }
    return { kind: "list", ordered, start: ordered ? parseInt(first, 10) : undefined, items };
  }

  /** Whether a line belongs to the item above it: what is indented does, and what follows without a gap. */
  function continues(line, width) {
    if (!line.trim()) return i + 1 < lines.length && lines[i + 1].startsWith(" ".repeat(width)) && lines[i + 1].trim() !== "";
    if (line.startsWith(" ".repeat(width))) return true;
    return !begins(line) && lines[i - 1].trim() !== "";
  }

  function paragraph() {
    const text = [lines[i++].trim()];
    text.push(...take((line) => line.trim() && !begins(line) && !isTable(i)).map((line) => line.trim()));
    return { kind: "paragraph", text: text.join("\n") };
  }
}

const begins = (line) => [FENCE, HEADING, RULE, QUOTE, ITEM].some((block) => block.test(line));

const heading = (line) => {
  const [, marks, text = ""] = HEADING.exec(line);
  return { kind: "heading", depth: marks.length, text };
};

/** A row's cells; a bar behind a backslash is a bar. */
const cells = (line) =>
  line
    .trim()
    .replace(/^\||(?<!\\)\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll("\\|", "|"));
