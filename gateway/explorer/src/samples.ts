import bookAppointment from "./samples/book-appointment.graphql?raw";
import doctorNextTimes from "./samples/doctor-next-times.graphql?raw";
import filteredSearch from "./samples/filtered-search.graphql?raw";
import graph from "./samples/graph.graphql?raw";
import monthOfDays from "./samples/month-of-days.graphql?raw";
import nextThreeTimes from "./samples/next-three-times.graphql?raw";
import serviceInAllClinics from "./samples/service-in-all-clinics.graphql?raw";
import { midnight } from "./midnight";

export interface Sample {
  query: string;
  variables?: string;
}

/** The tabs of a first visit. GraphiQL leaves the variables of the first tab out, so that one has none. */
export function samples(now: Date, timeZone: string): Sample[] {
  const variables = {
    start: midnight(now, 1, timeZone),
    end: midnight(now, 8, timeZone),
    byId: false,
    resourceId: "",
    healthcareServiceId: null,
  };
  const booking = {
    idempotencyKey: newKey(),
    timeslotIds: ["the id of a free timeslot"],
    patient: { details: { firstName: "Tolvan", lastName: "Tolvansson", phones: ["+46701740605"] } },
  };
  return [
    { query: graph.trimEnd() },
    { query: doctorNextTimes.trimEnd() },
    { query: filteredSearch.trimEnd(), variables: JSON.stringify(variables, null, 2) },
    { query: monthOfDays.trimEnd() },
    { query: nextThreeTimes.trimEnd() },
    { query: serviceInAllClinics.trimEnd(), variables: JSON.stringify({ names: ["Samtal med kurator"] }, null, 2) },
    { query: bookAppointment.trimEnd(), variables: JSON.stringify({ input: booking }, null, 2) },
  ];
}

/** Random, also on pages over plain HTTP, where browsers make no UUIDs. */
function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
