/** A day's times, once each, and the one that was chosen, with those who have it. */

import { type Day, dayInWords, type Zone } from "./dates";
import { button, byId, list } from "./elements";
import type { SlotFragment, TimesFragment } from "./gql/graphql";
import { slotInWords } from "./words";

type Time = TimesFragment["times"][number];

export class DayTimes {
  readonly #day = byId("day", HTMLElement);
  readonly #heading = byId("day-heading", HTMLHeadingElement);
  readonly #words = byId("day-words", HTMLElement);
  readonly #times = byId("times", HTMLElement);
  readonly #gaps = byId("day-gaps", HTMLElement);
  readonly #choice = byId("choice", HTMLElement);
  readonly #choiceHeading = byId("choice-heading", HTMLHeadingElement);
  readonly #choiceWords = byId("choice-words", HTMLElement);
  readonly #slots = byId("choice-slots", HTMLElement);
  #buttons = new Map<string, HTMLButtonElement>();
  #chosen = "";

  constructor(private readonly choose: (start: string, ids: string[]) => void) {}

  hide(): void {
    this.#day.hidden = true;
    this.#choice.hidden = true;
  }

  /** The day of which the times are being asked. */
  showDay(day: Day): void {
    this.hide();
    this.#heading.textContent = dayInWords(day);
    this.#words.textContent = "";
    this.#times.replaceChildren();
    list(this.#gaps, []);
    this.#day.hidden = false;
  }

  showTimes(times: readonly Time[], zone: Zone, gaps: readonly string[]): void {
    const shown = zone.times(times.map(({ start }) => start));
    this.#buttons = new Map(
      times.map(({ start, timeslots }, index) => [
        start,
        button(shown[index] ?? "", () =>
          this.choose(
            start,
            timeslots.map(({ id }) => id),
          ),
        ),
      ]),
    );
    for (const each of this.#buttons.values()) each.setAttribute("aria-pressed", "false");
    this.#times.hidden = times.length === 0;
    this.#times.replaceChildren(
      ...[...this.#buttons.values()].map((each) => {
        const item = document.createElement("li");
        item.append(each);
        return item;
      }),
    );
    this.#words.textContent = times.length ? `${zone.city} time.` : "No free times on this day.";
    list(this.#gaps, gaps);
  }

  /** The time of which the clinic is being asked whether it is still free. */
  showChoice(start: string): void {
    this.#chosen = start;
    for (const [each, pressed] of this.#buttons) pressed.setAttribute("aria-pressed", String(each === start));
    this.#choiceHeading.textContent = `${this.#heading.textContent}, ${this.#buttons.get(start)?.textContent}`;
    this.#choiceWords.textContent = "";
    list(this.#slots, []);
    this.#choice.hidden = false;
  }

  /** A free time that may be another day's than the one that is shown. */
  showOther(slot: SlotFragment, zone: Zone, offered: string): void {
    this.showChoice(slot.start);
    this.#choiceHeading.textContent = `${dayInWords(zone.day(slot.start))}, ${zone.time(slot.start)}`;
    list(this.#slots, [slotInWords(slot)]);
    this.#choiceWords.textContent = offered;
    this.#choiceHeading.focus();
  }

  leaveChoice(): void {
    this.#choice.hidden = true;
    for (const each of this.#buttons.values()) each.setAttribute("aria-pressed", "false");
  }

  /** Those of its slots that are still free, with what may be done about them; gives what there is to say. */
  showSlots(slots: readonly SlotFragment[], offered: string): string {
    list(this.#slots, slots.map(slotInWords));
    if (!slots.length) {
      const taken = this.#buttons.get(this.#chosen);
      taken?.classList.add("taken");
      taken?.append(" taken");
    }
    this.#choiceWords.textContent = slots.length
      ? `The clinic was asked just now: it is still free. ${offered}`
      : "It is free no longer. Choose another time.";
    this.#choice.scrollIntoView({ block: "nearest" });
    return slots.length ? "Still free. Nothing is booked yet." : "Somebody else has taken it.";
  }

  scrollTo(): void {
    this.#day.scrollIntoView({ block: "nearest" });
  }
}
