/** The page's elements by their ids, and lists and pickers that are filled anew. */

export function byId<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`the page has no such element: ${id}`);
  return found;
}

/** Put other contents into an element; whoever stands on a button that goes reads on at the status. */
export function refill(element: HTMLElement, ...contents: (string | HTMLElement)[]): void {
  if (element.contains(document.activeElement)) byId("status", HTMLElement).focus();
  element.replaceChildren(...contents);
}

export interface Choice {
  value: string;
  text: string;
}

/** Fill a picker, and keep what is chosen in it where that is still there. */
export function fill(picker: HTMLSelectElement, options: readonly (Choice | HTMLOptGroupElement)[]): void {
  const chosen = picker.value;
  picker.replaceChildren(...options.map((each) => (each instanceof HTMLElement ? each : option(each))));
  if ([...picker.options].some(({ value }) => value === chosen)) picker.value = chosen;
}

export function group(label: string, options: readonly Choice[]): HTMLOptGroupElement {
  const found = document.createElement("optgroup");
  found.label = label;
  found.append(...options.map(option));
  return found;
}

/** Write a list's items; a list without any is not there for screen readers either. */
export function list(element: HTMLElement, texts: readonly string[]): void {
  element.hidden = texts.length === 0;
  element.replaceChildren(
    ...texts.map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }),
  );
}

export function button(text: string, pressed: (button: HTMLButtonElement) => void): HTMLButtonElement {
  const found = document.createElement("button");
  found.type = "button";
  found.textContent = text;
  found.addEventListener("click", () => pressed(found));
  return found;
}

function option({ value, text }: Choice): HTMLOptionElement {
  return new Option(text, value);
}
