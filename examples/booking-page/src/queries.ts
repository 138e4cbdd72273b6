/** The page's questions about what is free; each step asks one of them, in one request. */

import { graphql } from "./gql";

/** Where is something free? An EHR that fails takes none of the others' clinics away. */
export const clinicsQuery = graphql(`
  query Clinics {
    emrs {
      id
      name
      careUnits {
        id
        name
        timeZone
        capabilities {
          book
          patientBy
          requiredPatientDetails
        }
        availability(range: { days: { count: 30 } }) {
          distinctStartCount
          coverage {
            complete
          }
        }
      }
    }
  }
`);

/**
 * Which days have anything, for which visits and with whom? All of it from one set of slots. What comes next behind the
 * month takes further calls to the clinic, so it is asked for only where the month seems to have nothing. After a
 * booking the day that is shown is asked for too.
 */
export const monthQuery = graphql(`
  query Month(
    $careUnit: ID!
    $days: DayRange!
    $ofService: AvailabilityFilter
    $ofBoth: AvailabilityFilter
    $ahead: Boolean!
    $day: DayRange!
    $withDay: Boolean!
  ) {
    careUnit(id: $careUnit) {
      id
      all: availability(range: { days: $days }) {
        distinctStartCount
        byHealthcareService {
          healthcareServiceId
          healthcareService {
            id
            name
          }
          distinctStartCount
        }
      }
      ofService: availability(range: { days: $days }, filter: $ofService) {
        distinctStartCount
        byResource {
          resourceId
          resource {
            id
            name
          }
          distinctStartCount
        }
      }
      ofBoth: availability(range: { days: $days }, filter: $ofBoth) {
        distinctStartCount
        days {
          date
          distinctStartCount
        }
        first {
          id
          start
        }
        nextAfter @include(if: $ahead) {
          timeslot {
            id
            start
          }
          searchedUntil
          complete
        }
        ...Known
      }
      ofDay: availability(range: { days: $day }, filter: $ofBoth) @include(if: $withDay) {
        ...Times
      }
    }
  }
  fragment Times on Availability {
    distinctStartCount
    times {
      start
      timeslots {
        id
      }
    }
    ...Known
  }
  fragment Known on Availability {
    asOf
    coverage {
      gaps {
        reason
        resourceId
        healthcareServiceId
        retryable
      }
    }
  }
`);

/** Which times does a day have, once each, and whose are they? */
export const dayQuery = graphql(`
  query Day($careUnit: ID!, $date: Date!, $filter: AvailabilityFilter) {
    careUnit(id: $careUnit) {
      id
      availability(range: { days: { from: $date, count: 1 } }, filter: $filter) {
        ...Times
      }
    }
  }
`);

/** Is it still free, and with whom? What is gone is null. */
export const stillFreeQuery = graphql(`
  query StillFree($ids: [ID!]!) {
    nodes(ids: $ids) {
      id
      ...Slot
    }
  }
  fragment Slot on Timeslot {
    id
    start
    durationMinutes
    resourceId
    healthcareServiceId
    resource {
      id
      name
    }
    healthcareService {
      id
      name
    }
  }
`);
