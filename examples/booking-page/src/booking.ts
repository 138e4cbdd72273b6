/** Books, confirms and cancels, each at most once: a key is made for it before it is sent, and outlives a reload. */

import type { CombinedError, OperationResult } from "@urql/core";
import { type Attempt, keepAttempt, keptAttempt, newKey } from "./attempts";
import { bookMutation, cancelMutation, confirmMutation, outcomeQuery } from "./booking-queries";
import { dayInWords, Zone } from "./dates";
import { button } from "./elements";
import { askApart, change, saysNothingWasSent } from "./gateway";
import type {
  BookMutation,
  CancelMutation,
  ClinicsQuery,
  ConfirmMutation,
  PatientDetailsInput,
  SlotFragment,
} from "./gql/graphql";
import { Outcome } from "./outcome";
import { PatientForm, visitOf } from "./patient-form";
import { reasonOf, refusalInWords, wordsOf } from "./reasons";
import { ownersInWords } from "./words";

type CareUnit = NonNullable<ClinicsQuery["emrs"][number]["careUnits"]>[number];
type Answer = NonNullable<
  BookMutation["bookAppointment"] | ConfirmMutation["confirmAppointment"] | CancelMutation["cancelAppointment"]
>;
type Success = Extract<Answer, { appointment: object }>;
type Failure = Exclude<Answer, Success>;
type Taken = Extract<BookMutation["bookAppointment"], { __typename: "TimeslotTaken" }>;

/** A time that somebody may book, with all who have it, in the order in which they are tried. */
export interface Wish {
  clinic: Pick<CareUnit, "timeZone" | "capabilities">;
  start: string;
  slots: readonly SlotFragment[];
  /** Whom and what the slots were asked of, which matters where they do not say it themselves. */
  resourceId: string | null;
  healthcareServiceId: string | null;
}

/** What a booking tells the rest of the page. */
interface Page {
  say(words: string): void;
  /** Other times are free now. */
  refresh(): void;
  /** Nothing can be booked where a time is shown. */
  leaveChoice(): void;
  /** Show another time than the one that was chosen, with what may be done about it. */
  showOther(slot: SlotFragment, zone: Zone, offered: string): void;
}

const MOST_WISHES = 5;
const LONGEST_PAUSE = 300;
const headings = {
  book: { doing: "Booking…", not: "Not booked", unknown: "It is not known yet whether it is booked" },
  confirm: { doing: "Confirming…", not: "Not confirmed", unknown: "It is not known yet whether it is confirmed" },
  cancel: { doing: "Cancelling…", not: "Not cancelled", unknown: "It is not known yet whether it is cancelled" },
};

export class Booking {
  readonly #form = new PatientForm((patient, visit) => this.#book(patient, visit));
  readonly #outcome = new Outcome((code) => this.#confirm(code));
  #wish: Wish | undefined;
  /** The wish of the attempt; after a reload nobody knows it. */
  #attempted: Wish | undefined;
  #attempt: Attempt | undefined;
  /** What booked the appointment that may be cancelled, since it is there again where that fails. */
  #bookedBy: Attempt | undefined;
  /** Whether it has yet to be told what became of the attempt; nothing else is begun until then. */
  #isOpen = false;
  #timer: number | undefined;
  /** Whether an answer is waited for. */
  #isSent = false;
  /** Seconds until it is asked again, longer each time. */
  #pause = 1;
  /** Whether the page asks by itself, so that whoever looks at it may be at something else. */
  #isUnasked = false;

  constructor(private readonly page: Page) {}

  /** Go on with what a reload interrupted. */
  resume(): void {
    this.#attempt = keptAttempt();
    if (this.#attempt?.step === "confirm") this.#askForCode(this.#attempt, "The code has to be entered again.");
    else if (this.#attempt) this.#again();
  }

  /** Offer nothing while another time is asked for. */
  withdraw(): void {
    this.#wish = undefined;
    this.#form.hide();
  }

  /** Offer a time that is free; gives what there is to say. */
  offer(wish: Wish): string {
    this.#wish = wish;
    this.#form.hide();
    if (this.#isOpen) return "It has to be known first what became of what was sent before.";
    this.#outcome.hide();
    const { book, patientBy, requiredPatientDetails } = wish.clinic.capabilities;
    if (book === "NO" || !patientBy.includes("DETAILS")) {
      return "Nothing is booked here. Call the clinic to take this time.";
    }
    this.#form.show(requiredPatientDetails, wish.clinic.timeZone, wish.slots);
    return "Nothing is booked yet.";
  }

  #book(patient: PatientDetailsInput, visit: string): void {
    const wish = this.#wish;
    if (!wish || this.#isOpen) return;
    this.#attempted = wish;
    const slots = wish.slots.filter((slot) => visitOf(slot) === visit).slice(0, MOST_WISHES);
    const timeslotIds = slots.map(({ id }) => id);
    const attempt = this.#sameBooking(timeslotIds) ?? {
      step: "book",
      key: newKey(),
      when: { start: wish.start, timeZone: wish.clinic.timeZone },
      timeslotIds,
    };
    const areNamed = slots.some((slot) => slot.resourceId);
    const areOfKind = slots.some((slot) => slot.healthcareServiceId);
    const input = {
      idempotencyKey: attempt.key,
      timeslotIds,
      resourceId: areNamed ? null : wish.resourceId,
      healthcareServiceId: areOfKind ? null : wish.healthcareServiceId,
      patient: { details: patient },
    };
    this.#send(attempt, change(bookMutation, { input }), ({ bookAppointment }) => bookAppointment);
  }

  /** What was not sent to the clinic before goes on under its own key, so that it is one booking whatever arrives. */
  #sameBooking(timeslotIds: readonly string[]): Attempt | undefined {
    const kept = this.#attempt;
    return kept?.step === "book" && kept.timeslotIds.join() === timeslotIds.join() ? kept : undefined;
  }

  #confirm(code: string): void {
    const attempt = this.#attempt;
    if (attempt?.step !== "confirm" || this.#isOpen) return;
    const input = { idempotencyKey: attempt.key, appointmentId: attempt.appointmentId, code };
    this.#send(attempt, change(confirmMutation, { input }), ({ confirmAppointment }) => confirmAppointment);
  }

  #cancel(attempt: Attempt & { step: "cancel" }): void {
    if (this.#isOpen) return;
    const input = { idempotencyKey: attempt.key, appointmentId: attempt.appointmentId };
    this.#send(attempt, change(cancelMutation, { input }), ({ cancelAppointment }) => cancelAppointment);
  }

  /** Ask again what became of the attempt: a booking has a question of its own, the others are sent again. */
  #again(isUnasked = false): void {
    window.clearTimeout(this.#timer);
    if (this.#isSent) return;
    this.#isUnasked = isUnasked;
    const attempt = this.#attempt;
    this.#isOpen = false;
    if (attempt?.step === "cancel") this.#cancel(attempt);
    else if (attempt?.step === "confirm") this.#confirm(this.#outcome.code);
    else if (attempt) {
      const asked = askApart(outcomeQuery, { key: attempt.key });
      this.#send(attempt, asked, ({ bookingOutcome }) => bookingOutcome, { isQuestion: true });
    }
  }

  async #send<Data>(
    attempt: Attempt,
    sent: Promise<OperationResult<Data>>,
    read: (data: Data) => Answer | null | undefined,
    { isQuestion = false } = {},
  ): Promise<void> {
    this.#attempt = attempt;
    keepAttempt(attempt);
    this.#isOpen = this.#isSent = true;
    this.#form.setBusy(true);
    this.page.say(isQuestion ? "Asking what became of the booking…" : headings[attempt.step].doing);
    const { data, error } = await sent;
    this.#isSent = false;
    this.#form.setBusy(false);
    const answer = data ? read(data) : undefined;
    if (answer && "appointment" in answer) this.#succeed(attempt, answer);
    else if (answer) this.#fail(attempt, answer);
    else if (!error && isQuestion) this.#tellNothingIsKnown();
    else if (isQuestion || !saysNothingWasSent(error)) {
      this.#wait(attempt, "There is no answer. Please do not book again meanwhile.", 0);
    } else this.#refuse(attempt, error);
  }

  #succeed(attempt: Attempt, { __typename, appointment, ...rest }: Success): void {
    this.#close();
    const { id, careUnit } = appointment;
    const when = { start: appointment.start, timeZone: careUnit.timeZone };
    this.#form.hide();
    this.page.leaveChoice();
    if (__typename === "AppointmentAwaitingConfirmation") {
      this.#keep({ step: "confirm", key: newKey(), when, appointmentId: id });
      const what = attempt.step === "cancel" ? "cancel the appointment" : "book the time";
      this.#askForCode(this.#attempt, `The patient was sent a code. Enter it to ${what}.`);
    } else if (__typename === "AppointmentCancelled") {
      this.#keep(undefined);
      this.#tell("Cancelled", `The appointment on ${inWords(when)} is cancelled.`);
    } else {
      this.#bookedBy = attempt.step === "book" ? attempt : undefined;
      this.#keep(this.#bookedBy);
      this.#form.clear();
      const other = "deviations" in rest && rest.deviations.length > 0;
      const words = other ? "Look at it: the clinic booked it otherwise than was asked." : "The time is yours.";
      const lines = [inWords(when), ownersInWords(appointment), careUnit.name].filter(Boolean);
      const cancel = button("Cancel this appointment", () =>
        this.#cancel({ step: "cancel", key: newKey(), when, appointmentId: id }),
      );
      this.#tell("Booked", words, { lines, actions: careUnit.capabilities.cancel === "NO" ? [] : [cancel] });
    }
    this.page.refresh();
  }

  #fail(attempt: Attempt, failure: Failure): void {
    const { reason } = failure;
    const { key, isOpen = false } = reasonOf(failure);
    // Seconds, since the clock of whoever looks at the page may be wrong.
    if (isOpen) return this.#wait(attempt, wordsOf(failure), failure.retryAfterSeconds ?? 0);
    // What was sent before under this key arrived after all, so that it says what became of that.
    if (reason === "KEY_MISMATCH" && attempt.step === "book") return this.#again();
    this.#close();
    if (attempt.step === "confirm" && key !== "never") return this.#failToConfirm(attempt, failure);
    const isBooked = attempt.step === "cancel" && reason !== "ALREADY_CANCELLED";
    if (key !== "same") this.#keep(isBooked ? this.#bookedBy : undefined);
    if (key === "never") this.#form.hide();
    const heading = reason === "ALREADY_CANCELLED" ? "Cancelled" : headings[attempt.step].not;
    const lines = isBooked ? [`Still booked: ${inWords(attempt.when)}`] : [];
    const actions = attempt.step === "cancel" && key === "same" ? [button("Try again", () => this.#again())] : [];
    if (failure.__typename === "TimeslotTaken") this.#offerAlternatives(attempt, failure as Taken);
    else this.#tell(heading, wordsOf(failure), { lines, actions });
    if (reason.startsWith("TIMESLOT_") || reason === "ALREADY_CANCELLED") this.page.refresh();
  }

  /** A wrong code is another code by another key; whatever was not sent is sent again by the same. */
  #failToConfirm(attempt: Attempt & { step: "confirm" }, failure: Failure): void {
    if (reasonOf(failure).key === "new") this.#keep({ ...attempt, key: newKey() });
    this.#askForCode(this.#attempt, "Enter the code that the patient was sent.", wordsOf(failure));
  }

  #offerAlternatives({ when }: Attempt, failure: Taken): void {
    this.page.leaveChoice();
    const [zone, wish] = [new Zone(when.timeZone), this.#attempted];
    const actions = (wish ? (failure.alternatives ?? []) : []).map((slot) => {
      const at = `${dayInWords(zone.day(slot.start))}, ${zone.time(slot.start)}`;
      return button([at, ownersInWords(slot)].filter(Boolean).join(" · "), () => {
        const offered = wish ? this.offer({ ...wish, start: slot.start, slots: [slot] }) : "";
        this.page.showOther(slot, zone, offered);
      });
    });
    const next = actions.length ? "These are free:" : "Choose another one.";
    this.#tell("Taken", `${wordsOf(failure)} ${next}`, { actions });
  }

  #askForCode(attempt: Attempt | undefined, words: string, codeProblem = ""): void {
    const lines = attempt ? [inWords(attempt.when)] : [];
    this.#tell("A code is needed", words, { lines, code: true, codeProblem });
  }

  /** The key is kept, in case that it was only late; then the same booking has the same key. */
  #tellNothingIsKnown(): void {
    this.#close();
    this.#tell("Not booked", "Nothing has reached the clinic. Choose the time again.");
  }

  #refuse(attempt: Attempt, error: CombinedError | undefined): void {
    this.#close();
    const words = refusalInWords(error);
    if (attempt.step === "confirm") this.#askForCode(attempt, "Enter the code that the patient was sent.", words);
    else this.#tell(headings[attempt.step].not, words);
  }

  #wait(attempt: Attempt, words: string, seconds: number): void {
    const pause = Math.ceil(Math.max(seconds, this.#pause));
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
    this.#form.hide();
    this.page.leaveChoice();
    const again = pause === 1 ? "The page asks again in a second." : `The page asks again in ${pause} seconds.`;
    this.#tell(headings[attempt.step].unknown, `${words} ${again}`, {
      lines: [inWords(attempt.when)],
      actions: [button("Ask now", () => this.#again())],
      code: attempt.step === "confirm",
    });
    this.#timer = window.setTimeout(() => this.#again(true), pause * 1000);
  }

  #tell(heading: string, words: string, more: Partial<Parameters<Outcome["show"]>[0]> = {}): void {
    this.page.say(`${heading}.`);
    this.#outcome.show({ heading, words, isQuiet: this.#isUnasked, ...more });
    this.#isUnasked = false;
  }

  #keep(attempt: Attempt | undefined): void {
    this.#attempt = attempt;
    keepAttempt(attempt);
  }

  /** It is known what became of the attempt. */
  #close(): void {
    this.#isOpen = false;
    this.#pause = 1;
  }
}

function inWords({ start, timeZone }: Attempt["when"]): string {
  const zone = new Zone(timeZone);
  return `${dayInWords(zone.day(start))}, ${zone.time(start)}, ${zone.city} time`;
}
