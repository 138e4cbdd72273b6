/** The steps of the page: a clinic, a month, a day, a time, a booking. Each step asks the gateway once. */

import type { CombinedError } from "@urql/core";
import { Booking } from "./booking";
import { DayTimes } from "./day-times";
import { addMonths, type Day, dayInWords, daysIn, type Month, monthInWords, monthOf, Zone } from "./dates";
import { button, byId, fill, group, list, refill } from "./elements";
import { ask, giveUp } from "./gateway";
import type { ClinicsQuery, MonthQuery, SlotFragment, TimesFragment } from "./gql/graphql";
import { MonthGrid } from "./month-grid";
import { clinicsQuery, dayQuery, monthQuery, stillFreeQuery } from "./queries";
import { Trouble } from "./trouble";
import { capitalised, counted, freeTimes, gapsInWords } from "./words";

const MONTHS_AHEAD = 12;

type CareUnit = NonNullable<ClinicsQuery["emrs"][number]["careUnits"]>[number];
type MonthAnswer = NonNullable<MonthQuery["careUnit"]>;
type Found = NonNullable<MonthAnswer["ofBoth"]>;

interface How {
  /** Ask the clinic anew. */
  fresh?: boolean;
  /** Look behind the month too, for what comes next. */
  ahead?: boolean;
  /** Leave what is shown until it is answered, and ask for the times of the day too. */
  again?: boolean;
}

export class BookingPage {
  readonly #clinic = byId("clinic", HTMLSelectElement);
  readonly #service = byId("service", HTMLSelectElement);
  readonly #resource = byId("resource", HTMLSelectElement);
  readonly #status = byId("status", HTMLParagraphElement);
  readonly #monthSection = byId("month", HTMLElement);
  readonly #trouble = new Trouble();
  readonly #dayTimes = new DayTimes((start, ids) => this.#chooseTime(start, ids));
  readonly #grid = new MonthGrid(
    byId("grid", HTMLTableElement),
    (day) => this.#chooseDay(day),
    (month) => this.#showMonth(month, { ahead: this.#isEmpty }),
  );
  readonly #booking = new Booking({
    say: (words) => this.#say(words),
    refresh: () => {
      if (this.#clinic.value) this.#askMonth({ again: true });
    },
    leaveChoice: () => this.#dayTimes.leaveChoice(),
    showOther: (slot, zone, offered) => this.#dayTimes.showOther(slot, zone, offered),
  });
  readonly #careUnits = new Map<string, CareUnit>();
  /** Doctors and kinds of visit by their ids. */
  readonly #names = new Map<string, string>();
  /** How many times each of them had free when last asked. */
  readonly #free = new Map<string, number>();
  #zone = new Zone("UTC");
  #today: Day = "";
  #month: Month = "";
  #day: Day | undefined;
  #counts: Map<Day, number> | undefined;
  /** Whether the month is being asked for. */
  #isAsked = false;
  /** What the month may lack, in words. */
  #gaps: string[] = [];

  start(): void {
    this.#clinic.addEventListener("change", () => this.#chooseClinic());
    for (const picker of [this.#service, this.#resource]) {
      picker.addEventListener("change", () =>
        this.#showMonth(this.#month, { ahead: this.#free.get(picker.value) === 0 }),
      );
    }
    byId("previous", HTMLElement).addEventListener("click", () => this.#turn(-1));
    byId("next", HTMLElement).addEventListener("click", () => this.#turn(1));
    byId("refresh", HTMLElement).addEventListener("click", () =>
      this.#showMonth(this.#month, { fresh: true, ahead: this.#isEmpty }),
    );
    this.#showClinics();
    this.#booking.resume();
  }

  #showClinics(): void {
    this.#say("Looking for clinics…");
    const again = (): void => this.#showClinics();
    ask(clinicsQuery, {}, ({ data, error }) => {
      if (!data) return this.#fail(error, again);
      for (const unit of data.emrs.flatMap(({ careUnits }) => careUnits ?? [])) this.#careUnits.set(unit.id, unit);
      const groups = data.emrs.map(({ name, careUnits }) => group(name, (careUnits ?? []).map(clinicChoice)));
      fill(this.#clinic, [{ value: "", text: "Choose a clinic" }, ...groups.filter(({ children }) => children.length)]);
      const missing = data.emrs.filter(({ careUnits }) => careUnits === null).map(({ name }) => name);
      this.#say(`${this.#careUnits.size} clinics. Choose one to see its free times.`);
      this.#trouble.show(missing.length ? `The clinics of ${missing.join(", ")} cannot be shown now.` : "", again);
    });
  }

  #chooseClinic(): void {
    const unit = this.#careUnits.get(this.#clinic.value);
    this.#monthSection.hidden = !unit;
    this.#dayTimes.hide();
    for (const picker of [this.#service, this.#resource]) {
      picker.replaceChildren();
      picker.disabled = true;
    }
    this.#names.clear();
    this.#free.clear();
    if (!unit) return giveUp();
    this.#zone = new Zone(unit.timeZone);
    this.#today = this.#zone.day(new Date());
    this.#showMonth(monthOf(this.#today), { ahead: unit.availability?.distinctStartCount === 0 });
  }

  #turn(months: number): void {
    const month = addMonths(this.#month, months);
    if (this.#isShown(month)) this.#showMonth(month, { ahead: this.#isEmpty });
  }

  get #isEmpty(): boolean {
    return this.#counts?.size === 0;
  }

  #isShown(month: Month): boolean {
    return month >= monthOf(this.#today) && month <= this.#lastMonth;
  }

  #showMonth(month: Month, { fresh = false, ahead = false }: How = {}): void {
    this.#month = month;
    this.#counts = undefined;
    this.#isAsked = true;
    this.#day = undefined;
    this.#dayTimes.hide();
    this.#trouble.show("");
    byId("month-heading", HTMLHeadingElement).textContent = monthInWords(month);
    // Not `disabled`, which would take the focus away from who has just pressed them.
    byId("previous", HTMLElement).setAttribute("aria-disabled", String(!this.#isShown(addMonths(month, -1))));
    byId("next", HTMLElement).setAttribute("aria-disabled", String(!this.#isShown(addMonths(month, 1))));
    byId("as-of", HTMLElement).textContent = "";
    refill(byId("earliest", HTMLElement));
    list(byId("gaps", HTMLElement), []);
    this.#showGrid();
    this.#say(`Looking for free times in ${monthInWords(month)}…`);
    this.#askMonth({ fresh, ahead });
  }

  #askMonth({ fresh = false, ahead = false, again = false }: How): void {
    const month = this.#month;
    const ofService = this.#service.value ? { healthcareServiceIds: [this.#service.value] } : null;
    const ofBoth = this.#resource.value ? { ...ofService, resourceIds: [this.#resource.value] } : ofService;
    const from = month === monthOf(this.#today) ? this.#today : `${month}-01`;
    const days = { from, count: daysIn(month) - Number(from.slice(8)) + 1 };
    const day = { from: this.#day ?? this.#today, count: 1 };
    ask(
      monthQuery,
      { careUnit: this.#clinic.value, days, ofService, ofBoth, ahead, day, withDay: again && this.#day !== undefined },
      ({ data, error }) => {
        this.#isAsked = false;
        if (!data?.careUnit?.ofBoth) {
          this.#showGrid();
          return this.#fail(error, () => this.#showMonth(month, { ahead }));
        }
        this.#fillPickers(data.careUnit);
        this.#tellMonth(data.careUnit.ofBoth);
        if (data.careUnit.ofDay) this.#showTimes(data.careUnit.ofDay);
        if (!again) this.#say(this.#inWords(data.careUnit.ofBoth));
      },
      fresh,
    );
  }

  #tellMonth(found: Found): void {
    this.#counts = new Map(found.days.map(({ date, distinctStartCount }) => [date, distinctStartCount]));
    this.#showGrid();
    const earliest = found.first ? this.#earliest(found.first.start) : this.#next(found.nextAfter);
    refill(byId("earliest", HTMLElement), ...earliest);
    byId("as-of", HTMLElement).textContent = `As it was at ${this.#zone.time(found.asOf)}, ${this.#zone.city} time.`;
    this.#gaps = gapsInWords(found.coverage.gaps, this.#names);
    list(byId("gaps", HTMLElement), this.#gaps);
  }

  #inWords({ days, distinctStartCount: count }: Found): string {
    const onDays = days.length === 1 ? "on 1 day " : `on ${days.length} days `;
    return `${capitalised(freeTimes(count))} ${count ? onDays : ""}in ${monthInWords(this.#month)}.`;
  }

  #earliest(start: string): (string | HTMLElement)[] {
    const day = this.#zone.day(start);
    const link = button(`${dayInWords(day)}, ${this.#zone.time(start)}`, () => this.#chooseDay(day));
    return ["The first one: ", link];
  }

  /** What comes behind a month that has nothing; undefined where that was not asked for. */
  #next(found: Found["nextAfter"]): (string | HTMLElement)[] {
    if (found === undefined) {
      return [button("Find the next free time", () => this.#showMonth(this.#month, { ahead: true }))];
    }
    if (!found) return ["The next free time could not be found out."];
    const until = dayInWords(this.#zone.day(found.searchedUntil));
    if (!found.timeslot) {
      return [found.complete ? `Nothing is free before ${until} either.` : `Nothing was found until ${until}.`];
    }
    const { start } = found.timeslot;
    const day = this.#zone.day(start);
    const link = button(`${dayInWords(day)}, ${this.#zone.time(start)}`, () => {
      this.#grid.moveTo(day);
      this.#showMonth(monthOf(day));
    });
    return ["The next one: ", link];
  }

  #fillPickers({ all, ofService }: MonthAnswer): void {
    const services = (all?.byHealthcareService ?? []).map((each) => ({
      id: each.healthcareServiceId,
      name: each.healthcareService?.name ?? "Another kind of visit",
      count: each.distinctStartCount,
    }));
    const resources = (ofService?.byResource ?? []).map((each) => ({
      id: each.resourceId,
      name: each.resource?.name ?? "Somebody else",
      count: each.distinctStartCount,
    }));
    this.#fillPicker(this.#service, "Any kind of visit", all?.distinctStartCount, services);
    this.#fillPicker(this.#resource, "Any doctor or room", ofService?.distinctStartCount, resources);
  }

  #fillPicker(picker: HTMLSelectElement, any: string, total: number | undefined, owners: readonly Owner[]): void {
    // Slots that name no owner are in the whole, and can be asked for in no other way.
    const named = owners.filter((each): each is Owner & { id: string } => each.id !== null);
    for (const { id, name, count } of named) {
      this.#names.set(id, name);
      this.#free.set(id, count);
    }
    const choices = named.map(({ id, name, count }) => ({ value: id, text: counted(name, count) }));
    // Where the list could not be had, what was chosen before can still be asked for.
    const kept = picker.value && !named.some(({ id }) => id === picker.value) ? [picker.value] : [];
    const before = kept.map((value) => ({ value, text: this.#names.get(value) ?? "As chosen" }));
    fill(picker, [{ value: "", text: counted(any, total) }, ...choices, ...before]);
    picker.disabled = false;
  }

  #chooseDay(day: Day): void {
    this.#day = day;
    this.#showGrid();
    this.#trouble.show("");
    this.#dayTimes.showDay(day);
    this.#say(`Looking for the free times of ${dayInWords(day)}…`);
    const resourceIds = this.#resource.value ? { resourceIds: [this.#resource.value] } : {};
    const healthcareServiceIds = this.#service.value ? { healthcareServiceIds: [this.#service.value] } : {};
    const filter = { ...resourceIds, ...healthcareServiceIds };
    ask(dayQuery, { careUnit: this.#clinic.value, date: day, filter }, ({ data, error }) => {
      const found = data?.careUnit?.availability;
      if (!found) return this.#fail(error, () => this.#chooseDay(day));
      this.#counts?.set(day, found.distinctStartCount);
      this.#showGrid();
      this.#showTimes(found);
      this.#dayTimes.scrollTo();
      this.#say(`${capitalised(freeTimes(found.distinctStartCount))} on ${dayInWords(day)}.`);
    });
  }

  #showTimes({ times, coverage }: TimesFragment): void {
    const gaps = gapsInWords(coverage.gaps, this.#names).filter((gap) => !this.#gaps.includes(gap));
    this.#dayTimes.showTimes(times, this.#zone, gaps);
  }

  #chooseTime(start: string, ids: string[]): void {
    this.#trouble.show("");
    this.#booking.withdraw();
    this.#dayTimes.showChoice(start);
    this.#say("Asking the clinic whether it is still free…");
    ask(stillFreeQuery, { ids }, ({ data, error }) => {
      const found = data?.nodes.flatMap((node) => (node && "start" in node ? [node] : [])) ?? [];
      if (error && !found.length) return this.#fail(error, () => this.#chooseTime(start, ids));
      this.#say(this.#dayTimes.showSlots(found, found.length ? this.#offer(start, found) : ""));
    });
  }

  #offer(start: string, slots: readonly SlotFragment[]): string {
    const clinic = this.#careUnits.get(this.#clinic.value);
    const [resourceId, healthcareServiceId] = [this.#resource.value || null, this.#service.value || null];
    return clinic ? this.#booking.offer({ clinic, start, slots, resourceId, healthcareServiceId }) : "";
  }

  #showGrid(): void {
    const last: Day = `${this.#lastMonth}-${daysIn(this.#lastMonth)}`;
    this.#grid.show({
      month: this.#month,
      today: this.#today,
      last,
      chosen: this.#day,
      counts: this.#counts,
      isAsked: this.#isAsked,
    });
  }

  get #lastMonth(): Month {
    return addMonths(monthOf(this.#today), MONTHS_AHEAD);
  }

  #say(words: string): void {
    this.#status.textContent = words;
  }

  #fail(error: CombinedError | undefined, again: () => void): void {
    this.#say("");
    this.#trouble.showError(error, again);
  }
}

interface Owner {
  id: string | null;
  name: string;
  count: number;
}

function clinicChoice({ id, name, availability }: CareUnit): { value: string; text: string } {
  return { value: id, text: availability ? counted(name, availability.distinctStartCount) : `${name} – not known now` };
}
