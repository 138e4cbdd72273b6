import type { Execute } from "./execute";
import { graphql } from "./gql";

const SearchByBoth = graphql(`
  query SearchByBoth($careUnit: ID!, $resource: ID, $service: ID, $start: DateTime!, $end: DateTime!) {
    careUnit(id: $careUnit) {
      emr {
        __typename
      }
      timeslots(resourceId: $resource, healthcareServiceId: $service, start: $start, end: $end, first: 10) {
        start
        end
        resource {
          name
        }
        careUnit {
          id
        }
      }
      healthcareServices {
        timeslots(resourceId: $resource, first: 1) {
          start
        }
      }
      resources {
        timeslots(healthcareServiceId: $service, first: 1) {
          start
        }
      }
    }
  }
`);

export interface Search {
  careUnit: string;
  resource?: string;
  service?: string;
  start: string;
  end: string;
}

/** null when the clinic could not be asked, which is not the same as nothing free. */
export async function starts(execute: Execute, search: Search): Promise<string[] | null> {
  const { careUnit } = await execute(SearchByBoth, search);
  return careUnit?.timeslots?.map((timeslot) => timeslot.start) ?? null;
}
