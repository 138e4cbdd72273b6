/** What is being done about an appointment, and its key, kept for this tab over a reload; nothing of the patient. */

interface When {
  start: string;
  timeZone: string;
}

/** Made once for one thing to do: sent again with its key, it is done no second time. */
export type Attempt = { key: string; when: When } & (
  | { step: "book"; timeslotIds: string[] }
  | { step: "confirm"; appointmentId: string }
  | { step: "cancel"; appointmentId: string }
);

const PLACE = "attempt";

/** 128 bits that nobody can guess: who knows a key may ask what became of it. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The attempt that was under way before a reload. */
export function keptAttempt(): Attempt | undefined {
  try {
    return (JSON.parse(sessionStorage.getItem(PLACE) ?? "null") as Attempt | null) ?? undefined;
  } catch {
    // Where a browser keeps nothing for pages, a reload forgets.
    return undefined;
  }
}

export function keepAttempt(attempt: Attempt | undefined): void {
  try {
    if (attempt) sessionStorage.setItem(PLACE, JSON.stringify(attempt));
    else sessionStorage.removeItem(PLACE);
  } catch {
    // As before.
  }
}
