/** A month as an ARIA grid: each day says its date and how many times are free; arrow keys move between days. */

import { addDays, addMonths, type Day, dayIn, dayInWords, daysIn, type Month, monthOf, weekdayOf } from "./dates";
import { freeTimes } from "./words";

export interface Shown {
  month: Month;
  /** The first and the last day that can be asked about. */
  today: Day;
  last: Day;
  chosen: Day | undefined;
  /** How many times are free on each day that has any; undefined where that is not known. */
  counts: ReadonlyMap<Day, number> | undefined;
  /** Whether they are being asked for. */
  isAsked: boolean;
}

const weekdays = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

export class MonthGrid {
  #shown: Shown | undefined;
  #active: Day = "";

  constructor(
    private readonly table: HTMLTableElement,
    private readonly choose: (day: Day) => void,
    private readonly turn: (month: Month) => void,
  ) {
    table.tHead?.replaceChildren(row(weekdays.map(columnHeader)));
    table.addEventListener("keydown", (event) => this.#onKey(event));
    table.addEventListener("click", (event) => {
      const day = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-day]") : null;
      if (day?.dataset["day"]) this.#activate(day.dataset["day"]);
    });
  }

  show(shown: Shown): void {
    const hadFocus = this.table.contains(document.activeElement);
    this.#shown = shown;
    if (monthOf(this.#active) !== shown.month) this.#active = dayIn(shown.month, "0001-01-01");
    if (this.#active < shown.today) this.#active = shown.today;
    const first = `${shown.month}-01`;
    const blanks = weekdayOf(first);
    const cells = Array.from({ length: Math.ceil((blanks + daysIn(shown.month)) / 7) * 7 }, (_, index) => {
      const day = addDays(first, index - blanks);
      return monthOf(day) === shown.month ? this.#cell(day, shown) : document.createElement("td");
    });
    this.table.setAttribute("aria-busy", String(shown.isAsked));
    this.table.tBodies[0]?.replaceChildren(...weeks(cells).map(row));
    if (hadFocus) this.#activeCell()?.focus();
  }

  /** Let a day of the month that will be shown next be the one that keys start from, and give the grid the focus. */
  moveTo(day: Day): void {
    this.#activeCell()?.focus();
    this.#active = day;
  }

  #cell(day: Day, { today, chosen, counts }: Shown): HTMLTableCellElement {
    const cell = document.createElement("td");
    const count = counts?.get(day) ?? 0;
    cell.dataset["day"] = day;
    cell.tabIndex = day === this.#active ? 0 : -1;
    cell.setAttribute("aria-selected", String(day === chosen));
    if (day === today) cell.setAttribute("aria-current", "date");
    if (day < today) {
      cell.setAttribute("aria-disabled", "true");
      cell.append(...told(day, "past", ""));
      return cell;
    }
    cell.classList.toggle("free", count > 0);
    cell.append(...(counts ? told(day, freeTimes(count), String(count || "–")) : told(day, "", "")));
    return cell;
  }

  #activeCell(): HTMLElement | null {
    return this.table.querySelector<HTMLElement>(`[data-day="${this.#active}"]`);
  }

  #onKey(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const to = this.#target(event.key);
    if (to === undefined) return;
    event.preventDefault();
    if (event.key === "Enter" || event.key === " ") this.#activate(to);
    else this.#moveTo(to);
  }

  /** The day that a key leads to; undefined where the key is none of the grid's. */
  #target(key: string): Day | undefined {
    const day = this.#active;
    switch (key) {
      case "ArrowLeft":
        return addDays(day, -1);
      case "ArrowRight":
        return addDays(day, 1);
      case "ArrowUp":
        return addDays(day, -7);
      case "ArrowDown":
        return addDays(day, 7);
      case "Home":
        return addDays(day, -weekdayOf(day));
      case "End":
        return addDays(day, 6 - weekdayOf(day));
      case "PageUp":
        return dayIn(addMonths(monthOf(day), -1), day);
      case "PageDown":
        return dayIn(addMonths(monthOf(day), 1), day);
      case "Enter":
      case " ":
        return day;
      default:
        return undefined;
    }
  }

  #moveTo(day: Day): void {
    const shown = this.#shown;
    if (!shown) return;
    const month = monthOf(day);
    if (month < monthOf(shown.today) || day > shown.last) return;
    const before = this.#activeCell();
    this.#active = day;
    if (month !== shown.month) {
      this.turn(month);
      return;
    }
    if (before) before.tabIndex = -1;
    const cell = this.#activeCell();
    if (cell) cell.tabIndex = 0;
    cell?.focus();
  }

  #activate(day: Day): void {
    this.#moveTo(day);
    if (this.#shown?.counts && day >= this.#shown.today) this.choose(day);
  }
}

/** What is heard of a day, and what is seen of it. */
function told(day: Day, words: string, mark: string): HTMLElement[] {
  const [heard, number, small] = [element("span"), element("span"), element("small")];
  heard.className = "heard";
  heard.textContent = [dayInWords(day), words].filter(Boolean).join(", ");
  number.textContent = String(Number(day.slice(8)));
  small.textContent = mark;
  for (const seen of [number, small]) seen.setAttribute("aria-hidden", "true");
  return [heard, number, small];
}

function element(name: string): HTMLElement {
  return document.createElement(name);
}

function columnHeader(weekday: string): HTMLTableCellElement {
  const header = document.createElement("th");
  header.scope = "col";
  header.abbr = weekday;
  const short = document.createElement("span");
  short.textContent = weekday.slice(0, 2);
  short.setAttribute("aria-hidden", "true");
  const long = document.createElement("span");
  long.textContent = weekday;
  long.className = "heard";
  header.append(short, long);
  return header;
}

function row(cells: HTMLTableCellElement[]): HTMLTableRowElement {
  const found = document.createElement("tr");
  found.append(...cells);
  return found;
}

function weeks(cells: HTMLTableCellElement[]): HTMLTableCellElement[][] {
  return Array.from({ length: cells.length / 7 }, (_, week) => cells.slice(week * 7, week * 7 + 7));
}
