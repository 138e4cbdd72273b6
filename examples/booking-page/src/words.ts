/** What the page says in words: numbers, freshness, and what an answer may lack. */

import type { KnownFragment, SlotFragment } from "./gql/graphql";

type Gap = KnownFragment["coverage"]["gaps"][number];

export function freeTimes(count: number): string {
  if (count === 0) return "no free times";
  return count === 1 ? "1 free time" : `${count} free times`;
}

export function counted(name: string, count: number | undefined): string {
  return count === undefined ? name : `${name} – ${count} free`;
}

export function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** With whom and for what, as far as that is known. */
export function ownersInWords(of: Pick<SlotFragment, "resource" | "healthcareService">): string {
  const { resource, healthcareService } = of;
  return [resource?.name, healthcareService?.name].filter((each) => each !== undefined).join(" · ");
}

export function slotInWords(slot: SlotFragment): string {
  return [ownersInWords(slot), minutesInWords(slot)].filter(Boolean).join(" · ");
}

export function visitInWords(slot: SlotFragment): string {
  return [slot.healthcareService?.name ?? "Another kind of visit", minutesInWords(slot)].filter(Boolean).join(" · ");
}

function minutesInWords({ durationMinutes }: SlotFragment): string {
  return durationMinutes === null ? "" : `${durationMinutes} minutes`;
}

/** What may be missing, each kind once; `names` are those of doctors and kinds of visit by their ids. */
export function gapsInWords(gaps: readonly Gap[], names: ReadonlyMap<string, string>): string[] {
  return [...new Set(gaps.map((gap) => gapInWords(gap, names)))];
}

function gapInWords(gap: Gap, names: ReadonlyMap<string, string>): string {
  const name = names.get(gap.resourceId ?? gap.healthcareServiceId ?? "");
  const whose = name === undefined ? "Some free times" : `The free times of ${name}`;
  const later = gap.retryable ? " Refresh to try again." : "";
  switch (gap.reason) {
    case "FAILED":
      return `${whose} could not be fetched, so there may be more than is shown.${later}`;
    case "OUTSIDE_EVERY_FILTER":
      return "The clinic’s system lists free times by doctor or by kind of visit. Any that belong to none of them are not shown.";
    case "ROWS_DROPPED":
      return "Some entries of the clinic’s system could not be read and are left out.";
    case "LIMIT":
      return `${whose} were not asked for, since it would have been too much at once.`;
    default:
      return `Some free times may be missing.${later}`;
  }
}
