"""What one request carries to its resolvers."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import strawberry
from graphql import GraphQLResolveInfo

from gateway.domain.access import EVERYTHING, Access
from gateway.domain.errors import BadUserInput
from gateway.domain.ids import NodeType, leyr_id_within, node_id
from gateway.domain.models import CareUnitKey
from gateway.domain.planning import TimeslotQuery
from gateway.domain.window import Window, requested_window
from gateway.schema.loaders import Loaders
from gateway.sources.profiles import Profiles

_DEFAULT_WINDOW = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class TimeslotFilter:
    """The arguments of a `timeslots` field; ids are node ids or raw Leyr ids."""

    start: datetime | None = None
    end: datetime | None = None
    resource_id: str | None = None
    healthcare_service_id: str | None = None


class NodeIds(dict[str | None, strawberry.ID | None]):
    """Node ids by Leyr id, each made once: the same few come back in thousands of slots."""

    def __init__(self, node_type: NodeType, key: CareUnitKey) -> None:
        super().__init__({None: None})
        self._node_type = node_type
        self._key = key

    def __missing__(self, leyr_id: str) -> strawberry.ID:
        made = self[leyr_id] = strawberry.ID(node_id(self._node_type, self._key, leyr_id))
        return made


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """What one operation may take: upstream calls, were nothing remembered, and timeslots in its answer."""

    upstream_calls: int = 200
    timeslots: int = 100_000


@dataclass(frozen=True, slots=True)
class Context:
    """One request: its loaders, its one idea of now, what its caller may see, and the limits that hold for it."""

    loaders: Loaders
    profiles: Profiles
    now: datetime
    widest_window: timedelta
    access: Access = EVERYTHING
    limits: AnswerLimits = AnswerLimits()
    _node_ids: dict[tuple[NodeType, CareUnitKey], NodeIds] = field(default_factory=dict)
    _windows: dict[tuple[datetime | None, datetime | None], Window] = field(default_factory=dict)

    def node_ids(self, node_type: NodeType, key: CareUnitKey) -> NodeIds:
        """The node ids of what a care unit's slots may name."""
        found = self._node_ids.get((node_type, key))
        if found is None:
            found = self._node_ids[node_type, key] = NodeIds(node_type, key)
        return found

    def timeslot_query(self, care_unit: CareUnitKey, asked: TimeslotFilter) -> TimeslotQuery:
        """The query that arguments make within a care unit. Raises BadUserInput."""
        window = self._windows.get((asked.start, asked.end))
        if window is None:
            window = self._windows[asked.start, asked.end] = requested_window(
                asked.start,
                asked.end,
                now=self.now,
                default=min(_DEFAULT_WINDOW, self.widest_window),
                widest=self.widest_window,
            )
        resource, service = asked.resource_id, asked.healthcare_service_id
        return TimeslotQuery(
            care_unit,
            window,
            None if resource is None else leyr_id_within(resource, NodeType.RESOURCE, care_unit),
            None if service is None else leyr_id_within(service, NodeType.HEALTHCARE_SERVICE, care_unit),
        )


@dataclass
class Info(strawberry.Info[Context, None]):
    """Strawberry's info, with graphql-core's own for those who look ahead in the document.

    `seen_ahead` keeps what they found at a place of a document, where that place is compiled and comes back.
    """

    seen_ahead: dict[str, Any] = field(default_factory=dict)

    @property
    def raw(self) -> GraphQLResolveInfo[Context]:
        """The document, its fragments and variables, and where in it the resolver stands."""
        return self._raw_info


def checked_first(first: int | None) -> int | None:
    """How many items to give at most. Raises BadUserInput where it is negative."""
    if first is not None and first < 0:
        raise BadUserInput("first may not be negative")
    return first
