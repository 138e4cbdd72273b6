/** What went wrong, in words, with a button that tries it again. */

import type { CombinedError } from "@urql/core";
import { button, byId, refill } from "./elements";

export class Trouble {
  readonly #element = byId("trouble", HTMLElement);

  show(words: string, again?: () => void): void {
    refill(this.#element, words, ...(words && again ? [" ", button("Try again", again)] : []));
    this.#element.hidden = !words;
  }

  showError(error: CombinedError | undefined, again: () => void): void {
    this.show(inWords(error), again);
  }
}

/** For a person; what an error says to developers is in the answer. */
function inWords(error: CombinedError | undefined): string {
  if (error?.networkError) return "The gateway cannot be reached.";
  const passing = error?.graphQLErrors.some(({ extensions }) => extensions["retryable"] === true);
  return passing ? "The clinic’s system does not answer at the moment." : "This cannot be shown.";
}
