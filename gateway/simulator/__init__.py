"""A stand-in for Leyr, made from Leyr's public documentation and not from Leyr's code.

What the documentation leaves open was chosen, on purpose the less convenient way, and can be switched
(`Behaviour`). All clinics and people are invented.

Booking
-------

Nothing is booked at the start. Each care unit knows a few synthetic patients (`patients.py`), and makes more by POST.
How an EHR books is switched like the rest of its behaviour (`admin.py`); `behaviour.py` describes each switch:

* `checks_timeslots: false`: two can book one time, and any time (Cliniko's default); `capacity`: room for several
* `books_other`: books another start, end, resource or service than was asked, and says so
* `patient_overlaps: "refused"`: a patient who is booked then gets BAD_INPUT, with `emr_error` PATIENT_ALREADY_BOOKED,
  beside NO_TIMESLOTS_AVAILABLE where both are so
* `booking_needs_code`, `cancelling_needs_code` (Anita's default), `confirming_changes_id`: PATCH the id of the latest
  answer with `confirmation.code`; a wrong code is BAD_INPUT, and `GET /__appointments` shows the right one
* `cancelling_twice`, `lists_cancelled`, `completes_past`, `longest_comment`: what becomes of an appointment later
* `unsupported`: which operations are NOT_SUPPORTED; by default Kaddio does not update or cancel, and Anita does not
  list appointments or find patients
* `patient_id_types`, `plain_patient_ids`, `required_patient_detail`: how patients are named, and what new ones need
* `booking_answer`, `created_status`, `optional_fields`: a list or an object, 200 or 201, all fields or documented ones

Faults come by `POST /__faults` or by the header `x-simulator-fault` (`faults.py`). Of a call that writes, `write` says
what becomes of the write: `skipped` (before it: nothing is made), `done` (after it, and before the answer), or `late`
(made `seconds` after the answer or the broken connection). Without it the write is done, except where the answer is a
refusal (400 to 429, or a redirect). `cut` closes the connection before the answer, and `cut_mid_body` in the middle of
it; `cut;skipped` and `cut:3;late` are their forms in the header. `delay` with `late` is an EHR that writes and answers
late. Several faults with a `share` and a `seed` are a random mixture; the first one that is drawn counts. `endpoint`
is `book_appointment`, `change_appointment`, `create_patient`, `appointments`, `patients`, `patient`, or one of the
lists.

To judge by: `GET /__calls?endpoint=book_appointment` has every attempt with its `outcome`, also of those whose answer
never came (`call_log.py`). `GET /__appointments` has what the EHR holds, whatever anybody was told: each appointment
with its state, Leyr's id of its patient, the SHA-256 of its comment (a client's mark, for example), and the `number` of
the calls that booked and cancelled it. `POST /__reset` forgets all of it, and the same calls then give the same ids.
"""

from gateway.simulator.app import SimulatorSettings, announcement, create_simulator
from gateway.simulator.behaviour import Behaviour

__all__ = ["Behaviour", "SimulatorSettings", "announcement", "create_simulator"]
