"""What calls cost, as far as that can be told before they are made.

An upstream call wakes a clinic's EHR, which takes 0.3 to 5 seconds whatever it finds; a further slot in its answer
costs a fraction of a millisecond. So a call weighs as much as a thousand *resource-days*: the free times of one
resource on one day. A call that names a resource brings as many resource-days as its window has days, one that
names none brings those of every resource; naming a service leaves one in so many services.

How many resources and services there are is known where their lists are. Elsewhere a clinic of common size is
assumed, and never fewer than are asked for at once. Being wrong costs time, never truth.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from gateway.domain.queries import Roster, TimeslotQuery
from gateway.domain.window import Window

_RESOURCE_DAYS_A_CALL = 1000
_COMMON_RESOURCES = 8
_COMMON_SERVICES = 4
_MICROSECOND = timedelta(microseconds=1)
_CALL = timedelta(days=_RESOURCE_DAYS_A_CALL) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class CostModel:
    """The cost of calls to a care unit that has so many resources and services."""

    resources: int
    services: int
    longest_window: timedelta | None = None

    def calls(self, window: Window) -> int:
        """How many calls it takes to ask for a window, which is cut where it is too long."""
        longest = self.longest_window
        return 1 if longest is None else -(-window.length // longest)

    def cost(self, query: TimeslotQuery) -> int:
        """What a query costs by itself, in a unit that makes sense only beside another cost of the same model.

        It is counted in whole numbers, because a sum of fractions depends on their order.
        """
        days = query.window.length // _MICROSECOND
        size = days * (1 if query.resource is not None else self.resources)
        return self.calls(query.window) * _CALL * self.services + (
            size if query.service is not None else size * self.services
        )


def cost_model(queries: Iterable[TimeslotQuery], roster: Roster, longest_window: timedelta | None) -> CostModel:
    """The cost model for queries that are planned together."""
    asked = tuple(queries)
    return CostModel(
        _number(roster.resources, _COMMON_RESOURCES, {query.resource for query in asked}),
        _number(roster.services, _COMMON_SERVICES, {query.service for query in asked}),
        longest_window,
    )


def _number(listed: tuple[str, ...] | None, common: int, asked: set[str | None]) -> int:
    return max(common if listed is None else len(listed), len(asked - {None}), 1)
