import type { Execute } from "./execute";
import { type FragmentType, graphql, useFragment } from "./gql";

const NextTime = graphql(`
  fragment NextTime on Timeslot {
    start
    healthcareService {
      name
    }
  }
`);

const NextTimes = graphql(`
  query NextTimes($first: Int!) {
    careUnits {
      resources {
        id
        name
        timeslots(first: $first) {
          ...NextTime
        }
      }
    }
  }
`);

function line(masked: FragmentType<typeof NextTime>): string {
  const time = useFragment(NextTime, masked);
  return `${time.start} ${time.healthcareService?.name ?? "any service"}`;
}

export async function nextTimes(execute: Execute): Promise<Map<string, string[]>> {
  const { careUnits } = await execute(NextTimes, { first: 5 });
  const resources = (careUnits ?? []).flatMap((careUnit) => careUnit.resources ?? []);
  return new Map(resources.map(({ id, timeslots }) => [id, (timeslots ?? []).map(line)]));
}
