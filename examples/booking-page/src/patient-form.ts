/** The form for a patient's details: which of them a clinic needs, and what is wrong with what was entered. */

import { byId, fill, type Choice } from "./elements";
import type { Country, PatientDetail, PatientDetailsInput, SlotFragment } from "./gql/graphql";
import { visitInWords } from "./words";

interface Field {
  detail: PatientDetail | "VISIT";
  input: HTMLInputElement | HTMLSelectElement;
  /** What to do where it is missing, and where it is wrong. */
  missing: string;
  wrong: string;
}

interface NumberKind {
  country: Country;
  name: string;
  digits: string;
  pattern: string;
}

const swedish: NumberKind = { country: "SE", name: "Personal number", digits: "10 or 12 digits", pattern: "{10,12}" };
/** Where clinics are in other zones, people have other numbers. */
const kinds: Record<string, NumberKind> = {
  "Europe/Oslo": { country: "NO", name: "National identity number", digits: "11 digits", pattern: "{11}" },
  "Europe/London": { country: "GB", name: "NHS number", digits: "10 digits", pattern: "{10}" },
};

/** Without them nobody is a patient anywhere. */
const NAMES: PatientDetail[] = ["FIRST_NAME", "LAST_NAME"];

export class PatientForm {
  readonly #form = byId("patient", HTMLFormElement);
  readonly #button = byId("book", HTMLButtonElement);
  readonly #visit = byId("visit", HTMLSelectElement);
  readonly #number = byId("number", HTMLInputElement);
  readonly #fields: Field[] = [
    { detail: "VISIT", input: this.#visit, missing: "Choose what the visit is for.", wrong: "" },
    field("FIRST_NAME", "first-name", "Enter the first name.", "Enter a shorter name."),
    field("LAST_NAME", "last-name", "Enter the last name.", "Enter a shorter name."),
    field("PHONE", "phone", "Enter a telephone number.", "Enter a number such as +46 70 174 06 05."),
    field("EMAIL", "email", "Enter an e-mail address.", "Enter an address such as name@example.com."),
    field("NATIONAL_NUMBER", "number", "Enter the number.", "Enter all digits of the number."),
  ];
  #numbers = swedish;
  #isBusy = false;

  constructor(private readonly submitted: (patient: PatientDetailsInput, visit: string) => void) {
    this.#form.addEventListener("submit", (event) => {
      // The page sends it; a browser would write it into an address.
      event.preventDefault();
      if (!this.#isBusy && this.#check()) this.submitted(this.#details(), this.#visit.value);
    });
    for (const each of this.#fields) each.input.addEventListener("change", () => mark(each, problemOf(each)));
  }

  /** Ask for what a clinic needs; where a time is free for several kinds of visit, ask for that too. */
  show(required: readonly PatientDetail[], timeZone: string, slots: readonly SlotFragment[]): void {
    const visits = visitsOf(slots);
    this.#numbers = kinds[timeZone] ?? swedish;
    byId("number-name", HTMLElement).textContent = this.#numbers.name;
    byId("number-digits", HTMLElement).textContent = this.#numbers.digits;
    this.#number.pattern = ` *(?:[0-9][ +\\-]?)${this.#numbers.pattern} *`;
    for (const each of this.#fields) {
      const isNeeded = [...NAMES, ...required].includes(each.detail as PatientDetail);
      each.input.required = each.detail === "VISIT" ? visits.length > 1 : isNeeded;
      const optional = each.input.parentElement?.querySelector<HTMLElement>(".optional");
      if (optional) optional.hidden = each.input.required;
      mark(each, "");
    }
    byId("number-field", HTMLElement).hidden = !required.includes("NATIONAL_NUMBER");
    fill(this.#visit, [...(visits.length > 1 ? [{ value: "", text: "Choose a kind of visit" }] : []), ...visits]);
    byId("visit-field", HTMLElement).hidden = visits.length < 2;
    this.setBusy(false);
    this.#form.hidden = false;
  }

  hide(): void {
    this.#form.hidden = true;
  }

  /** Forget who it was. */
  clear(): void {
    this.#form.reset();
  }

  /** Not `disabled`, which would take the focus away from who has just pressed the button. */
  setBusy(isBusy: boolean): void {
    this.#isBusy = isBusy;
    this.#button.setAttribute("aria-disabled", String(isBusy));
  }

  #check(): boolean {
    const shown = this.#shown.map((each) => ({ each, problem: problemOf(each) }));
    for (const { each, problem } of shown) mark(each, problem);
    const first = shown.find(({ problem }) => problem);
    first?.each.input.focus();
    return !first;
  }

  /** A number that the clinic does not need is not asked for. */
  get #shown(): Field[] {
    return this.#fields.filter(({ detail, input }) => detail !== "NATIONAL_NUMBER" || input.required);
  }

  #details(): PatientDetailsInput {
    const entered = new Map(this.#shown.map(({ detail, input }) => [detail, input.value.trim()]));
    const [phone, email, number] = [entered.get("PHONE"), entered.get("EMAIL"), entered.get("NATIONAL_NUMBER")];
    return {
      firstName: entered.get("FIRST_NAME") ?? "",
      lastName: entered.get("LAST_NAME") ?? "",
      ...(phone ? { phones: [phone] } : {}),
      ...(email ? { emails: [email] } : {}),
      ...(number ? { nationalNumber: { country: this.#numbers.country, number } } : {}),
    };
  }
}

function field(detail: PatientDetail, id: string, missing: string, wrong: string): Field {
  return { detail, input: byId(id, HTMLInputElement), missing, wrong };
}

function problemOf({ input, missing, wrong }: Field): string {
  if (input.required && !input.value.trim()) return missing;
  return input.validity.valid ? "" : wrong;
}

/** Say what is wrong beside the field, and to who hears it. */
export function mark({ input }: Pick<Field, "input">, problem: string): void {
  input.setAttribute("aria-invalid", String(problem !== ""));
  byId(`${input.id}-problem`, HTMLElement).textContent = problem;
}

/** The kinds of visit that a time is free for. */
function visitsOf(slots: readonly SlotFragment[]): Choice[] {
  const found = new Map(slots.map((slot) => [visitOf(slot), visitInWords(slot)]));
  return [...found].map(([value, text]) => ({ value, text }));
}

/** What stands for a kind of visit in a picker, where no choice is the empty one. */
export function visitOf({ healthcareServiceId }: SlotFragment): string {
  return healthcareServiceId ?? "another";
}
