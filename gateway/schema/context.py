"""What one request carries to its resolvers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import strawberry

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import BadUserInput, Forbidden
from gateway.domain.ids import (
    AnyNodeId,
    EmrId,
    NodeType,
    TimeslotId,
    TimeslotIds,
    checked_leyr_id,
    leyr_id_within,
    node_id,
    parse_node_id,
)
from gateway.domain.models import EVERYTHING, Access, CareUnitKey
from gateway.domain.personal_numbers import may_hide_a_personal_number
from gateway.domain.queries import TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList, instant
from gateway.domain.window import Window, requested_window, window_of_slot
from gateway.engine.executor import Info as EngineInfo
from gateway.fetch.profiles import Profiles
from gateway.schema.loaders import Loaders
from gateway.schema.node import Nodes

T = TypeVar("T")
_DEFAULT_WINDOW = timedelta(days=30)
# Now is the beginning of a second, which is over when a call arrives; nobody books what begins within the next one.
_ON_THE_WAY = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class TimeslotFilter:
    """The arguments of a `timeslots` field; ids are as the client gave them, node ids or raw Leyr ids."""

    NAMES: ClassVar = ("start", "end", "resource_id", "healthcare_service_id")
    IDS: ClassVar = ("resource_id", "healthcare_service_id")

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
class OperationLimits:
    """What one operation may take: upstream calls, were nothing remembered, and seconds of waiting.

    `read_timeslots` are those that calls bring, whether the answer holds them or not: each takes some 400 bytes.
    `read_list_bytes` are those of the other lists, in memory.
    """

    upstream_calls: int = 1_000
    seconds: float = 10.0
    read_timeslots: int = 500_000
    read_list_bytes: int = 256 * 1024 * 1024


class CheckedQuery(NamedTuple):
    """The query that a `timeslots` field makes, and the lists that have to confirm its ids first.

    They do where a client gave an id that may be somebody's personal number, which must not leave in a URL. There is
    no query where the EHR takes no past instants and the window holds nothing else; then nothing is free in it.
    """

    query: TimeslotQuery | None
    unconfirmed: UnitLists | None


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
    _node_ids: dict[tuple[NodeType, CareUnitKey], NodeIds] = field(default_factory=dict)
    _timeslot_ids: dict[CareUnitKey, TimeslotIds] = field(default_factory=dict)
    _windows: dict[tuple[datetime | None, datetime | None, ZoneInfo, bool], Window | None] = field(default_factory=dict)
    _queries: dict[tuple[CareUnitKey, TimeslotFilter, str | None, str | None], CheckedQuery] = field(
        default_factory=dict
    )
    _last_window: tuple[datetime | None, datetime | None, EhrProfile, Window | None] | None = None
    _first_starts: set[str] = field(default_factory=set)
    _views: dict[CareUnitKey, Any] = field(default_factory=dict)
    _named: dict[str, AnyNodeId] = field(default_factory=dict)
    _suspicious: dict[str, bool] = field(default_factory=dict)
    is_looked_ahead: bool = False
    named_timeslots: dict[TimeslotId, None] = field(default_factory=dict)
    is_cost_settled: bool = False
    cost_refusal: str | None = None

    def __post_init__(self) -> None:
        limits = self.limits
        self.loaders.allow(limits.upstream_calls, limits.read_timeslots, limits.read_list_bytes)

    @property
    def loaders(self) -> Loaders:
        """The request's reads of upstream lists and timeslots."""
        return self.nodes.loaders

    @property
    def _earliest(self) -> datetime:
        """What is not past yet when a call arrives at an EHR that takes no past instants."""
        return self.now + _ON_THE_WAY

    @property
    def emrs(self) -> Sequence[EhrProfile]:
        """The configured EHRs that the caller may see."""
        return [profile for profile in self.profiles.all if self.access.sees_emr(profile.code)]

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

    def query_of_timeslot(self, wanted: TimeslotId) -> CheckedQuery:
        """The query whose answer holds a slot as long as it is free, if it may be asked. Raises BadUserInput."""
        window = window_of_slot(wanted.start, wanted.end)
        if window.start < self._earliest and not self.profiles.of_unit(wanted.care_unit).past:
            return CheckedQuery(None, None)
        return self._with_unconfirmed(TimeslotQuery(wanted.care_unit, window, wanted.resource, wanted.service))

    def wider_queries(self, query: TimeslotQuery) -> Iterator[CheckedQuery]:
        """The queries with fewer filters that are one call each, and hold all that the query's answer would.

        For a query by an id that Leyr refuses: slots may name one that the lists leave out.
        """
        policy, (resource, service) = self.profiles.of_unit(query.care_unit).filter_policy, query.filters
        for filters in dict.fromkeys([(None, None), (None, service), (resource, None)]):
            wider = TimeslotQuery(query.care_unit, query.window, *filters)
            if wider != query and wider.allowed_by(policy):
                yield self._with_unconfirmed(wider)
                if wider.filter_count == 0:
                    return

    def _with_unconfirmed(self, query: TimeslotQuery) -> CheckedQuery:
        is_odd = [each is not None and self.may_hide_a_personal_number(each) for each in query.filters]
        return CheckedQuery(query, UnitLists.of(resources=is_odd[0], services=is_odd[1]) if any(is_odd) else None)

    def start_timeslots(self, checked: CheckedQuery) -> None:
        """Read the slots of a query, as soon as lists have confirmed its ids where they have to."""
        query, unconfirmed = checked
        if query is None:
            return
        if unconfirmed is None:
            self.loaders.start_timeslots(query)
        else:
            self.loaders.start_confirmed(query, unconfirmed)

    def timeslot_query(
        self, care_unit: CareUnitKey, asked: TimeslotFilter, resource: str | None = None, service: str | None = None
    ) -> CheckedQuery:
        """The query that arguments make within a care unit, or one of its resources or services by Leyr's id.

        Raises BadUserInput.
        """
        question = care_unit, asked, resource, service
        found = self._queries.get(question)
        if found is None:
            found = self._queries[question] = self._checked_query(*question)
        return found

    def may_hide_a_personal_number(self, leyr_id: str) -> bool:
        """Whether an id may hold somebody's personal number; found out once, as it is asked in many care units."""
        found = self._suspicious.get(leyr_id)
        if found is None:
            found = self._suspicious[leyr_id] = may_hide_a_personal_number(leyr_id)
        return found

    def _checked_query(
        self, care_unit: CareUnitKey, asked: TimeslotFilter, resource: str | None, service: str | None
    ) -> CheckedQuery:
        window = self._window(asked, self.profiles.of_unit(care_unit))
        unconfirmed: UnitLists | None = None
        if resource is not None:
            checked_leyr_id(resource)
        if service is not None:
            checked_leyr_id(service)
        if asked.resource_id is not None:
            resource = leyr_id_within(asked.resource_id, NodeType.RESOURCE, care_unit)
            if self.may_hide_a_personal_number(resource):
                unconfirmed = UnitLists.RESOURCES
        if asked.healthcare_service_id is not None:
            service = leyr_id_within(asked.healthcare_service_id, NodeType.HEALTHCARE_SERVICE, care_unit)
            if self.may_hide_a_personal_number(service):
                unconfirmed = UnitLists.of(resources=unconfirmed is not None, services=True)
        if window is None:
            return CheckedQuery(None, None)
        return CheckedQuery(TimeslotQuery(care_unit, window, resource, service), unconfirmed)

    def _window(self, asked: TimeslotFilter, profile: EhrProfile) -> Window | None:
        """The window of a query, without what is past where the EHR takes no past instants. Raises BadUserInput."""
        last = self._last_window
        # Most questions come in rows about the same time; these objects are compared faster than hashed.
        if last is not None and last[:3] == (asked.start, asked.end, profile):
            return last[3]
        distinction = asked.start, asked.end, profile.time_zone, profile.past
        if distinction not in self._windows:
            self._windows[distinction] = self._new_window(asked, profile)
        window = self._windows[distinction]
        self._last_window = asked.start, asked.end, profile, window
        return window

    def _new_window(self, asked: TimeslotFilter, profile: EhrProfile) -> Window | None:
        window = requested_window(
            asked.start,
            asked.end,
            now=self.now,
            default=min(_DEFAULT_WINDOW, self.widest_window),
            widest=self.widest_window,
            zone=profile.time_zone,
        )
        if profile.past or window.start >= self._earliest:
            return window
        return Window(self._earliest, window.end) if self._earliest < window.end else None

    def expire_with_first(self, query: TimeslotQuery, found: TimeslotList) -> None:
        """Let an answer to a window that begins now be kept until its first slot begins, which is then past."""
        is_from_now = query.window.start in {self.now, self._earliest}
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
