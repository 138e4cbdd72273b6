/** What became of a booking, in words, with what can be done next; the focus moves to it. */

import { byId, list } from "./elements";
import { mark } from "./patient-form";

export interface Told {
  heading: string;
  words: string;
  lines?: readonly string[];
  actions?: readonly HTMLButtonElement[];
  /** Whether a code is asked for, and what was wrong with the one before. */
  code?: boolean;
  codeProblem?: string;
  /** Whether nobody waits for it, so that it takes the focus from nothing else. */
  isQuiet?: boolean;
}

export class Outcome {
  readonly #section = byId("outcome", HTMLElement);
  readonly #heading = byId("outcome-heading", HTMLHeadingElement);
  readonly #words = byId("outcome-words", HTMLElement);
  readonly #lines = byId("outcome-lines", HTMLElement);
  readonly #actions = byId("outcome-actions", HTMLElement);
  readonly #codeForm = byId("code-form", HTMLFormElement);
  readonly #code = byId("code", HTMLInputElement);

  constructor(entered: (code: string) => void) {
    this.#codeForm.addEventListener("submit", (event) => {
      event.preventDefault();
      const code = this.code;
      this.#markCode(code ? "" : "Enter the code.");
      if (code) entered(code);
      else this.#code.focus();
    });
  }

  /** What is entered as the code now. */
  get code(): string {
    return this.#code.value.trim();
  }

  show({ heading, words, lines = [], actions = [], code = false, codeProblem = "", isQuiet = false }: Told): void {
    const focused = document.activeElement;
    const isFree = !focused || focused === document.body || this.#section.contains(focused);
    this.#heading.textContent = heading;
    this.#words.textContent = words;
    list(this.#lines, lines);
    this.#actions.replaceChildren(...actions);
    this.#actions.hidden = actions.length === 0;
    this.#codeForm.hidden = !code;
    this.#markCode(codeProblem);
    if (!code) this.#code.value = "";
    this.#section.hidden = false;
    if (codeProblem) this.#code.focus();
    else if (!isQuiet || isFree) this.#heading.focus();
  }

  hide(): void {
    this.#section.hidden = true;
  }

  #markCode(problem: string): void {
    mark({ input: this.#code }, problem);
  }
}
