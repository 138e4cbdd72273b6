"""What is free instead of a timeslot that is taken."""

from collections.abc import Sequence
from datetime import timedelta

from gateway.domain.errors import BadUserInput
from gateway.domain.ids import TimeslotId
from gateway.domain.models import Timeslot as FreeTimeslot
from gateway.domain.timeslots import instant
from gateway.domain.window import Window
from gateway.schema.context import Info
from gateway.schema.timeslot import Timeslot, TimeslotViews, found_timeslots

_BEFORE, _AFTER = timedelta(days=2), timedelta(days=12)
_MOST = 100


async def load_alternatives(info: Info, wanted: Sequence[TimeslotId], first: int) -> list[Timeslot]:
    """Free times of the service that the first wish was for, the nearest first. Raises domain errors."""
    if not 0 <= first <= _MOST:
        raise BadUserInput(f"first is from 0 to {_MOST}")
    context, best = info.context, wanted[0]
    start = max(best.start - _BEFORE, context.queries.earliest)
    window = Window(start, max(best.start, start) + _AFTER)
    found = await found_timeslots(context, context.queries.alternatives(best, window))
    view = context.made_once(best.care_unit, TimeslotViews).view
    return [view(each) for each in nearest(found.slots, wanted)[:first]]


def nearest(slots: Sequence[FreeTimeslot], wanted: Sequence[TimeslotId]) -> list[FreeTimeslot]:
    """The slots without those that were refused: those of the first wish's resource, then others, nearest first."""
    best = wanted[0]
    others = [slot for slot in slots if not any(each.is_of(slot) for each in wanted)]
    return sorted(others, key=lambda slot: (slot.resource_id != best.resource, abs(instant(slot.start) - best.start)))
