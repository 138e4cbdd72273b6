"""What is offered instead of a time that is taken."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.schema.alternatives import nearest

START = datetime(2026, 12, 1, 9, tzinfo=UTC)
UNIT = CareUnitKey("webdoc", "L0_1")


def wanted(hours: int, resource: str | None) -> TimeslotId:
    return TimeslotId(UNIT, START + timedelta(hours=hours), None, resource, "s1")


owners = st.sampled_from([None, "r1", "r2"])
slots = st.builds(
    lambda hours, resource: Timeslot((START + timedelta(hours=hours)).isoformat(), None, resource, "s1"),
    st.integers(-50, 50),
    owners,
)


@given(st.lists(slots), st.lists(st.builds(wanted, st.integers(-50, 50), owners), min_size=1, max_size=5))
def test_none_is_refused_again_and_the_nearest_of_the_same_resource_come_first(
    free: list[Timeslot], refused: list[TimeslotId]
) -> None:
    best = refused[0]

    found = nearest(free, refused)

    assert not any(each.is_of(slot) for each in refused for slot in found)
    assert len(found) == sum(not any(each.is_of(slot) for each in refused) for slot in free)
    ranks = [
        (slot.resource_id != best.resource, abs(datetime.fromisoformat(slot.start) - best.start)) for slot in found
    ]
    assert ranks == sorted(ranks)
