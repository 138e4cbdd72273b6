import type { Execute } from "./execute";
import { graphql } from "./gql";

const AvailabilityGraph = graphql(`
  query AvailabilityGraph($emr: String, $start: DateTime, $end: DateTime) {
    emrs {
      __typename
    }
    careUnits(emr: $emr) {
      id
      leyrId
      emrId
      name
      resources {
        id
        name
      }
      healthcareServices {
        id
        name
      }
      timeslots(start: $start, end: $end) {
        start
        end
        durationMinutes
        resourceId
        healthcareServiceId
      }
    }
  }
`);

export interface FreeTime {
  careUnit: string;
  resource: string | undefined;
  start: string;
  minutes: number | null;
}

/** Joins times and resources by node id, as a booking page does. */
export async function freeTimes(execute: Execute, start: string, end: string): Promise<FreeTime[]> {
  const { careUnits } = await execute(AvailabilityGraph, { start, end });
  return (careUnits ?? []).flatMap((careUnit) => {
    const names = new Map(careUnit.resources?.map(({ id, name }) => [id, name]));
    return (careUnit.timeslots ?? []).map((timeslot) => ({
      careUnit: careUnit.name,
      resource: timeslot.resourceId ? names.get(timeslot.resourceId) : undefined,
      start: timeslot.start,
      minutes: timeslot.durationMinutes,
    }));
  });
}
