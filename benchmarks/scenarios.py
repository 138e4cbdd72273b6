"""What is asked: which view, of how large a clinic, for how long a window, and how requests follow each other."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

EMR = "webdoc"
_ZONE = ZoneInfo("Europe/Stockholm")
_STEP = timedelta(milliseconds=40)
_MOST_STEPS = 500_000

View = Literal["whole", "by_resource"]

DOCUMENTS: dict[View, str] = {
    "whole": """
query Whole($start: DateTime!, $end: DateTime!) {
  careUnits {
    id
    name
    resources { id name }
    healthcareServices { id name }
    timeslots(start: $start, end: $end) { start end resourceId healthcareServiceId }
  }
}
""",
    "by_resource": """
query ByResource($start: DateTime!, $end: DateTime!) {
  careUnits {
    id
    name
    resources {
      id
      name
      timeslots(start: $start, end: $end) { start end resourceId healthcareServiceId }
    }
  }
}
""",
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the question: what every contender is asked, and how often at a time."""

    name: str
    view: View
    scale: int
    """The simulator's `--scale`; scenarios of one scale share their servers."""
    days: int
    connections: int
    cached: bool = False
    """Whether the gateway as shipped, with its caches, takes part."""
    moving: bool = True
    """Whether each request starts a little later than the one before, as `now` does."""


SCENARIOS = (
    Scenario("small", "whole", scale=1, days=10, connections=8),
    Scenario("n+1", "by_resource", scale=1, days=10, connections=8),
    Scenario("moving", "whole", scale=1, days=10, connections=8, cached=True),
    Scenario("warm", "whole", scale=1, days=10, connections=8, cached=True, moving=False),
    Scenario("medium", "whole", scale=6, days=30, connections=2),
    Scenario("n+1-medium", "by_resource", scale=6, days=30, connections=2),
    Scenario("large", "whole", scale=6, days=60, connections=1),
)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time as a query and a REST call write it."""

    start: str
    end: str


class Calendar:
    """The windows to ask for, beginning in the night after the simulator's first day.

    Nobody works at night, so the start can move through it and the answer stays the same.
    """

    def __init__(self, today: date) -> None:
        self._evening = datetime.combine(today, time(22), _ZONE)

    def window(self, scenario: Scenario, number: int) -> Window:
        """The window of a scenario's n-th request."""
        start = self._evening + (number % _MOST_STEPS if scenario.moving else 0) * _STEP
        end = self._evening + timedelta(days=scenario.days, hours=2)
        return Window(start.isoformat(timespec="milliseconds"), end.isoformat(timespec="milliseconds"))


def first_day(real_today: date) -> date:
    """The Monday to come: the simulator's world depends on the weekday that it begins with, so all runs see one."""
    return real_today + timedelta(days=-real_today.weekday() % 7)
