"""No hostile request, and no hostile upstream, makes a long step of the event loop, whatever becomes of its answer."""

import pytest

from benchmarks.standstill_kinds import Kind, Load
from tests.hostile_requests import KINDS, answered

# Lines, calls and returns in one step: between 15,000 and 70,000 take a millisecond, tracing left out.
MAX_STEP = 2_500_000
SINGLE = [kind for kind in KINDS.values() if kind.load == Load()]


@pytest.mark.parametrize("kind", SINGLE, ids=lambda kind: kind.name)
def test_hostile_request_is_answered_in_steps_of_bounded_size(kind: Kind) -> None:
    answer = answered(kind)

    assert answer.status in {200, 400}
    assert answer.codes <= kind.codes
    largest = answer.steps.largest
    assert largest.size < MAX_STEP, largest.name
