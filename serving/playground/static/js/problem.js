/** What went wrong with a request, in words that a visitor can act on. */

export class Problem extends Error {
  /**
   * @param {string} kind the problem's name, such as `attack-too-costly`; `gone` where no answer came
   * @param {{title: string, detail: string, status?: number, [member: string]: any}} document
   */
  constructor(kind, document) {
    super(document.detail || document.title);
    this.kind = kind;
    this.document = document;
    this.status = document.status || 0;
    this.title = document.title;
    this.detail = document.detail || "";
  }

  /** The server did not answer at all, or not to the end. */
  static gone() {
    return new Problem("gone", {
      title: "The server does not answer",
      detail: "It may be restarting, or the connection is down. Nothing you chose here is lost.",
    });
  }

  /** @param {Response} response @param {string} text its body */
  static of(response, text) {
    let document;
    try {
      document = JSON.parse(text);
    } catch {
      document = null;
    }
    if (!document || typeof document.title !== "string") {
      document = { title: `The server answered ${response.status}`, detail: text.slice(0, 300) };
    }
    return Problem.from({ ...document, status: response.status, retryAfter: response.headers.get("Retry-After") });
  }

  /** From a problem document. */
  static from(document) {
    return new Problem(String(document.type || "").split("#")[1] || "unknown", document);
  }

  /** What is wrong with each value of a form, by the value's name. */
  get fields() {
    const found = {};
    for (const { where, message } of this.document.errors || []) {
      found[where.split(/[ .]/).at(-1)] = message;
    }
    return found;
  }
}
