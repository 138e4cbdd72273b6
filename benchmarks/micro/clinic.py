"""A made-up care unit as large as a real one: its people, what they offer, and a season of free times."""

from datetime import UTC, datetime, timedelta

from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.queries import ListedIds, TimeslotQuery
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window

RESOURCES = tuple(f"R{number}" for number in range(50))
SERVICES = tuple(f"B{number}" for number in range(20))
LISTED_IDS = ListedIds(RESOURCES, SERVICES)

_UNIT = CareUnitKey("webdoc", "L0_1")
_MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)
_DAYS = 60
_SLOTS_A_DAY = 4


def query(resource: str | None = None, service: str | None = None, *, days: int = _DAYS) -> TimeslotQuery:
    """Free times of so many days from the first on."""
    return TimeslotQuery(_UNIT, Window(_MIDNIGHT, _MIDNIGHT + timedelta(days=days)), resource, service)


def slots() -> list[Timeslot]:
    """Everybody's free times, person by person as an EHR may list them: 12 000 of them."""
    found = []
    for person, resource in enumerate(RESOURCES):
        for number in range(_DAYS * _SLOTS_A_DAY):
            day, turn = divmod(number, _SLOTS_A_DAY)
            start = _MIDNIGHT + timedelta(days=day, hours=8 + 2 * turn, minutes=15 * (person % 4))
            service = SERVICES[(person + number) % len(SERVICES)]
            found.append(Timeslot(_text(start), _text(start + timedelta(minutes=15)), resource, service))
    return found


def answer() -> TimeslotList:
    """What the widest call finds."""
    return TimeslotList(slots())


def _text(moment: datetime) -> str:
    return moment.isoformat()
