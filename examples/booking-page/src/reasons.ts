/** Why something was not done, as a patient is told it, and by which key it may be tried again. */

import type { CombinedError } from "@urql/core";
import type { BookingFailureReason, FailureFragment } from "./gql/graphql";

export interface Reason {
  words: string;
  /** The same may be sent again; or something else, by a new key; or nothing helps. */
  key: "same" | "new" | "never";
  /** Whether it may be done all the same, or may yet be. */
  isOpen?: boolean;
}

const call = "Please call the clinic.";

const reasons: Record<BookingFailureReason, Reason> = {
  TIMESLOT_TAKEN: { words: "Somebody else has taken this time meanwhile.", key: "new" },
  TIMESLOT_AMBIGUOUS: { words: "Choose a doctor or room and a kind of visit above, then the time again.", key: "new" },
  TIMESLOT_EXPIRED: { words: "This time is past. Choose another one.", key: "new" },
  PATIENT_REJECTED: { words: "The clinic’s system does not take these details. Look at them again.", key: "new" },
  PATIENT_ALREADY_BOOKED: {
    words: "There is an appointment for this patient already. To change it, please call the clinic.",
    key: "never",
  },
  REJECTED_BY_EHR: { words: `The clinic’s system does not take it now. ${call}`, key: "new" },
  NOT_SUPPORTED: { words: `This cannot be done online. ${call}`, key: "never" },
  NOT_SENT: { words: "Nothing has happened yet. Try again.", key: "same" },
  NOT_BOOKED: { words: "The clinic’s system did not do it. Try again.", key: "new" },
  IN_PROGRESS: { words: "The clinic’s system is still working on it.", key: "same", isOpen: true },
  KEY_MISMATCH: { words: "Something else was sent before. Try again.", key: "new" },
  OUTCOME_UNKNOWN: {
    words: "The clinic’s system has not said whether it was done. It may be, so please do not book again meanwhile.",
    key: "same",
    isOpen: true,
  },
  CODE_WRONG: { words: "This code is wrong. Enter it again.", key: "new" },
  TOO_MANY_ATTEMPTS: { words: `Too many wrong codes were entered. ${call}`, key: "never" },
  ALREADY_CANCELLED: { words: "It was cancelled before.", key: "never" },
  APPOINTMENT_NOT_FOUND: { words: `There is no such appointment. ${call}`, key: "never" },
  OTHER: { words: `It was not done. ${call}`, key: "new" },
};

/** New reasons may come, of which no more is known than whether the same makes sense again. */
export function reasonOf({ reason, retryable }: FailureFragment): Reason {
  return reasons[reason] ?? (retryable ? reasons.IN_PROGRESS : reasons.OTHER);
}

export function wordsOf(failure: FailureFragment): string {
  const { reason, reference, retryAfterSeconds } = failure;
  const { words } = reasonOf(failure);
  if (reason === "NOT_SENT" && retryAfterSeconds) return `${words} Wait for ${Math.ceil(retryAfterSeconds)} seconds.`;
  return reference && words.includes("call the clinic") ? `${words} It may ask for this number: ${reference}` : words;
}

/** Why an error says that nothing was sent. */
export function refusalInWords(error: CombinedError | undefined): string {
  switch (error?.graphQLErrors[0]?.extensions["code"]) {
    case "BAD_USER_INPUT":
      return "Something in what was entered is not right. Look at it again.";
    case "FORBIDDEN":
    case "UNAUTHENTICATED":
      return `Nothing can be booked on this page. ${call}`;
    default:
      return "Nothing was sent, since there is too much to do at the moment. Try again in a while.";
  }
}
