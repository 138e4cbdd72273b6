import doctorNextTimes from "./samples/doctor-next-times.graphql?raw";
import filteredSearch from "./samples/filtered-search.graphql?raw";
import graph from "./samples/graph.graphql?raw";
import monthOfDays from "./samples/month-of-days.graphql?raw";
import nextThreeTimes from "./samples/next-three-times.graphql?raw";
import serviceInAllClinics from "./samples/service-in-all-clinics.graphql?raw";

const DAY_MILLISECONDS = 24 * 60 * 60 * 1000;

export interface Sample {
  query: string;
  variables?: string;
}

/** The tabs of a first visit. GraphiQL leaves the variables of the first tab out, so that one has none. */
export function samples(now: Date): Sample[] {
  return [
    { query: graph.trimEnd() },
    { query: doctorNextTimes.trimEnd() },
    { query: filteredSearch.trimEnd(), variables: JSON.stringify(comingWeek(now), null, 2) },
    { query: monthOfDays.trimEnd() },
    { query: nextThreeTimes.trimEnd() },
    { query: serviceInAllClinics.trimEnd(), variables: JSON.stringify({ names: ["Samtal med kurator"] }, null, 2) },
  ];
}

function comingWeek(now: Date): { start: string; end: string } {
  return { start: midnightAfter(now, 1), end: midnightAfter(now, 8) };
}

function midnightAfter(now: Date, days: number): string {
  const day = new Date(now.getTime() + days * DAY_MILLISECONDS);
  return `${day.toISOString().slice(0, 10)}T00:00:00Z`;
}
