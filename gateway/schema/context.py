"""What one request carries to its resolvers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import strawberry

from gateway.booking.caller_bookings import CallerBookings
from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import BadUserInput, Forbidden
from gateway.domain.ids import (
    AnyNodeId,
    EmrId,
    NodeType,
    TimeslotId,
    TimeslotIds,
    node_id,
    parse_node_id,
)
from gateway.domain.models import EVERYTHING, Access, CareUnitKey
from gateway.domain.queries import TimeslotQuery
from gateway.domain.timeslots import TimeslotList, instant
from gateway.engine.executor import Info as EngineInfo
from gateway.fetch.profiles import Profiles
from gateway.schema.loaders import Loaders
from gateway.schema.node import Nodes
from gateway.schema.timeslot_queries import CheckedQuery, TimeslotQueries

T = TypeVar("T")


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
class OperationLimits:
    """What one operation may take: upstream calls, were nothing remembered, and seconds of waiting.

    `read_timeslots` are those that calls bring, whether the answer holds them or not: each takes some 400 bytes.
    `read_list_bytes` are those of the other lists, in memory.
    """

    upstream_calls: int = 1_000
    seconds: float = 10.0
    read_timeslots: int = 500_000
    read_list_bytes: int = 256 * 1024 * 1024


@dataclass(slots=True, eq=False)
class Context:
    """One request: its nodes, its one idea of now, what its caller may see, and the limits that hold for it.

    `is_looked_ahead` says that what its document names is known, and `named_timeslots` are those among it that are not
    read yet; `is_cost_settled` that all its upstream calls were
    counted, `cost_refusal` why they are too many.
    """

    nodes: Nodes
    profiles: Profiles
    now: datetime
    widest_window: timedelta
    access: Access = EVERYTHING
    limits: OperationLimits = OperationLimits()
    instant_of: Callable[[float], str] | None = None
    """Says as text which instant the clock's seconds are; None where the clock is not one of instants."""
    caller_bookings: CallerBookings | None = field(default=None, repr=False)
    _node_ids: dict[tuple[NodeType, CareUnitKey], NodeIds] = field(default_factory=dict)
    _timeslot_ids: dict[CareUnitKey, TimeslotIds] = field(default_factory=dict)
    _first_starts: set[str] = field(default_factory=set)
    _views: dict[CareUnitKey, Any] = field(default_factory=dict)
    _named: dict[str, AnyNodeId] = field(default_factory=dict)
    is_looked_ahead: bool = False
    named_timeslots: dict[TimeslotId, None] = field(default_factory=dict)
    is_cost_settled: bool = False
    cost_refusal: str | None = None
    queries: TimeslotQueries = field(init=False)

    def __post_init__(self) -> None:
        self.queries = TimeslotQueries(self.profiles, self.now, self.widest_window)
        limits = self.limits
        self.loaders.allow(limits.upstream_calls, limits.read_timeslots, limits.read_list_bytes)

    @property
    def loaders(self) -> Loaders:
        """The request's reads of upstream lists and timeslots."""
        return self.nodes.loaders

    @property
    def emrs(self) -> Sequence[EhrProfile]:
        """The configured EHRs that the caller may see."""
        return [profile for profile in self.profiles.all if self.access.sees_emr(profile.code)]

    @property
    def bookings(self) -> CallerBookings:
        """Booking as the caller may do it. Raises Forbidden where nobody may."""
        if self.caller_bookings is None:
            raise Forbidden("You may not book here")
        return self.caller_bookings

    def emr(self, code: str | None) -> EhrProfile:
        """An EHR that the caller may see, the first one where none is named. Raises BadUserInput and Forbidden."""
        if code is None:
            for profile in self.profiles.all:
                if self.access.sees_emr(profile.code):
                    return profile
            raise Forbidden("You may not see any EHR")
        # Before it is looked up, so that nobody learns which EHRs are there that they may not see.
        if not self.access.sees_emr(code):
            raise Forbidden("You may not see this EHR")
        return self.profiles.of(code, self.access.sees_emr)

    def named(self, text: str) -> AnyNodeId:
        """Parse a node id that the caller may see; whether the node exists is not checked.

        Raises BadUserInput and Forbidden.
        """
        found = self._named.get(text)
        if found is None:
            found = parse_node_id(text)
            if not isinstance(found, EmrId) and not self.access.sees(found.care_unit):
                raise Forbidden("You may not see this care unit")
            self.emr(found.emr)
            self._named[text] = found
        return found

    def node_ids(self, node_type: NodeType, key: CareUnitKey) -> NodeIds:
        """The node ids of what a care unit's slots may name."""
        found = self._node_ids.get((node_type, key))
        if found is None:
            found = self._node_ids[node_type, key] = NodeIds(node_type, key)
        return found

    def made_once(self, care_unit: CareUnitKey, make: Callable[["Context", CareUnitKey], T]) -> T:
        """What the fields of a care unit's timeslots share, made for the first of them."""
        found: T | None = self._views.get(care_unit)
        if found is None:
            found = self._views[care_unit] = make(self, care_unit)
        return found

    def timeslot_ids(self, key: CareUnitKey) -> TimeslotIds:
        """What writes the node ids of a care unit's slots."""
        found = self._timeslot_ids.get(key)
        if found is None:
            found = self._timeslot_ids[key] = TimeslotIds(key)
        return found

    def read_at(self, seconds: float | None) -> str:
        """RFC 3339 text of the clock's seconds at which something was read; of now where nothing was."""
        if seconds is None or self.instant_of is None:
            return self.now.isoformat()
        return self.instant_of(seconds)

    def start_timeslots(self, checked: CheckedQuery) -> None:
        """Read the slots of a query, as soon as lists have confirmed its ids where they have to."""
        query, unconfirmed = checked
        if query is None:
            return
        if unconfirmed is None:
            self.loaders.start_timeslots(query)
        else:
            self.loaders.start_confirmed(query, unconfirmed)

    def expire_at(self, moment: datetime) -> None:
        """Let an answer be kept until an instant at most."""
        self.loaders.fresh_for((moment - self.now).total_seconds())

    def expire_with_first(self, query: TimeslotQuery, found: TimeslotList) -> None:
        """Let an answer to a window that begins now be kept until its first slot begins, which is then past."""
        is_from_now = query.window.start in {self.now, self.queries.earliest}
        if found.slots and is_from_now and found.slots[0].start not in self._first_starts:
            self._first_starts.add(found.slots[0].start)
            self.loaders.fresh_for((instant(found.slots[0].start) - self.now).total_seconds())


@dataclass
class Info(EngineInfo[Context, None]):
    """What resolvers are told, with the request as context."""


def checked_first(first: int | None) -> int | None:
    """How many items to give at most. Raises BadUserInput where it is negative."""
    if first is not None and first < 0:
        raise BadUserInput("first may not be negative")
    return first
