/** Local days and times of a clinic, whose zone need not be the one of the person who looks. */

/** A day of the calendar as `2026-10-25`; it has no zone and no length. */
export type Day = string;

/** A month of the calendar as `2026-10`. */
export type Month = string;

// Days are counted in UTC, where all of them have 24 hours; they are never instants here.
const dayFormat = new Intl.DateTimeFormat("en-GB", {
  weekday: "long",
  day: "numeric",
  month: "long",
  year: "numeric",
  timeZone: "UTC",
});
const monthFormat = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric", timeZone: "UTC" });

export function monthOf(day: Day): Month {
  return day.slice(0, 7);
}

export function addDays(day: Day, count: number): Day {
  const date = new Date(day);
  date.setUTCDate(date.getUTCDate() + count);
  return date.toISOString().slice(0, 10);
}

export function addMonths(month: Month, count: number): Month {
  const date = new Date(month);
  date.setUTCMonth(date.getUTCMonth() + count);
  return date.toISOString().slice(0, 7);
}

export function daysIn(month: Month): number {
  return Number(addDays(`${addMonths(month, 1)}-01`, -1).slice(8));
}

/** The same day of another month, or that month's last day. */
export function dayIn(month: Month, like: Day): Day {
  return `${month}-${String(Math.min(Number(like.slice(8)), daysIn(month))).padStart(2, "0")}`;
}

/** Days since Monday. */
export function weekdayOf(day: Day): number {
  return (new Date(day).getUTCDay() + 6) % 7;
}

export function dayInWords(day: Day): string {
  return dayFormat.format(new Date(day));
}

export function monthInWords(month: Month): string {
  return monthFormat.format(new Date(month));
}

/** The calendar and the clock of a clinic. */
export class Zone {
  readonly #date: Intl.DateTimeFormat;
  readonly #time: Intl.DateTimeFormat;
  readonly #namedTime: Intl.DateTimeFormat;

  constructor(readonly name: string) {
    const time = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: name } as const;
    this.#date = new Intl.DateTimeFormat("en", {
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      calendar: "iso8601",
      numberingSystem: "latn",
      timeZone: name,
    });
    this.#time = new Intl.DateTimeFormat("en-GB", time);
    this.#namedTime = new Intl.DateTimeFormat("en-GB", { ...time, timeZoneName: "short" });
  }

  /** The city that the zone is named for. */
  get city(): string {
    return (this.name.split("/").at(-1) ?? this.name).replaceAll("_", " ");
  }

  day(instant: string | Date): Day {
    const parts = Object.fromEntries(
      this.#date.formatToParts(new Date(instant)).map(({ type, value }) => [type, value]),
    );
    return `${parts["year"]}-${parts["month"]}-${parts["day"]}`;
  }

  time(instant: string): string {
    return this.#time.format(new Date(instant));
  }

  /** The times of a day as its clocks show them, with the zone's name where clocks show the same time twice. */
  times(instants: readonly string[]): string[] {
    const shown = instants.map((instant) => this.time(instant));
    const twice = new Set(shown.filter((time, index) => shown.indexOf(time) !== index));
    return instants.map((instant, index) => {
      const time = shown[index] ?? "";
      return twice.has(time) ? this.#namedTime.format(new Date(instant)) : time;
    });
  }
}
