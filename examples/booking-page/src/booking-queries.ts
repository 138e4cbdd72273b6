/** What is asked and sent about an appointment. All of a patient is in variables, since documents are kept. */

import { graphql } from "./gql";

export const bookMutation = graphql(`
  mutation Book($input: BookAppointmentInput!) {
    bookAppointment(input: $input) {
      ...Success
      ...Failure
      ...Alternatives
    }
  }
  fragment Success on BookingSuccess {
    __typename
    appointment {
      id
      start
      careUnit {
        id
        name
        timeZone
        capabilities {
          cancel
        }
      }
      resource {
        id
        name
      }
      healthcareService {
        id
        name
      }
    }
    ... on AppointmentBooked {
      deviations
    }
  }
  fragment Failure on BookingFailure {
    __typename
    reason
    retryable
    retryAfterSeconds
    reference
  }
  fragment Alternatives on TimeslotTaken {
    alternatives(first: 5) {
      ...Slot
    }
  }
`);

/** What became of a booking? Asking books nothing. */
export const outcomeQuery = graphql(`
  query Outcome($key: String!) {
    bookingOutcome(idempotencyKey: $key) {
      ...Success
      ...Failure
      ...Alternatives
    }
  }
`);

export const confirmMutation = graphql(`
  mutation Confirm($input: ConfirmAppointmentInput!) {
    confirmAppointment(input: $input) {
      ...Success
      ...Failure
    }
  }
`);

export const cancelMutation = graphql(`
  mutation Cancel($input: CancelAppointmentInput!) {
    cancelAppointment(input: $input) {
      ...Success
      ...Failure
    }
  }
`);
