"""The queries that the arguments of fields make: their windows, and the ids that they filter by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import ClassVar, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from gateway.domain.availability import AvailabilityFilter, AvailabilityRequest
from gateway.domain.calendar_days import CalendarDays
from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import OperationTooLarge
from gateway.domain.ids import NodeType, TimeslotId, checked_leyr_id, leyr_id_if_within, leyr_id_within
from gateway.domain.models import CareUnitKey
from gateway.domain.personal_numbers import may_hide_a_personal_number
from gateway.domain.queries import TimeslotQuery, UnitLists, wider_filters
from gateway.domain.window import ON_THE_WAY, Window, requested_window, window_of_slot
from gateway.fetch.profiles import Profiles

_DEFAULT_WINDOW = timedelta(days=30)
# Each is a query of its own, which the planner joins.
_MOST_OWNERS = 1_000


@dataclass(frozen=True, slots=True)
class TimeslotFilter:
    """The arguments of a `timeslots` field; ids are as the client gave them, node ids or raw Leyr ids."""

    NAMES: ClassVar = ("start", "end", "resource_id", "healthcare_service_id")

    start: datetime | None = None
    end: datetime | None = None
    resource_id: str | None = None
    healthcare_service_id: str | None = None


TimeslotsRequest: TypeAlias = TimeslotFilter | AvailabilityRequest
"""What a field that reads timeslots asks for, as its arguments say it."""

NAMES_IDS = frozenset({"resource_id", "healthcare_service_id", "filter"})
"""The arguments of such fields that may name resources and services by their ids."""


class CheckedQuery(NamedTuple):
    """The query that a `timeslots` field makes, and the lists that have to confirm its ids first.

    They do where a client gave an id that may be somebody's personal number, which must not leave in a URL. There is
    no query where the EHR takes no past instants and the window holds nothing else; then nothing is free in it.
    """

    query: TimeslotQuery | None
    unconfirmed: UnitLists | None


class UnitQueries(NamedTuple):
    """What an availability asks of one care unit.

    `days` are those that its free times are counted by. `window` is where something can be free; None where all is
    past. `resources` and `services` are the Leyr ids that may own free times, None where all may. `queries` together
    hold all of them; None where services are named and have to be looked up before anything can be asked. Where
    `is_picked`, they hold more, of which those of the services are meant.
    """

    days: CalendarDays
    window: Window | None
    resources: tuple[str, ...] | None
    services: tuple[str, ...] | None
    queries: tuple[CheckedQuery, ...] | None
    is_picked: bool = False


class TimeslotQueries:
    """Makes the queries of one request, whose one idea of now it has; each is made once."""

    def __init__(self, profiles: Profiles, now: datetime, widest_window: timedelta) -> None:
        self.now = now
        self._profiles = profiles
        self._widest_window = widest_window
        self._windows: dict[tuple[datetime | None, datetime | None, ZoneInfo, bool], Window | None] = {}
        self._last_window: tuple[datetime | None, datetime | None, EhrProfile, Window | None] | None = None
        self._queries: dict[tuple[CareUnitKey, TimeslotFilter, str | None, str | None], CheckedQuery] = {}
        self._unit_queries: dict[tuple[CareUnitKey, AvailabilityRequest, str | None, str | None], UnitQueries] = {}
        self._days: dict[tuple[object, ZoneInfo], CalendarDays] = {}
        self._suspicious: dict[str, bool] = {}

    @property
    def earliest(self) -> datetime:
        """What is not past yet when a call arrives at an EHR that takes no past instants."""
        return self.now + ON_THE_WAY

    def query_of_timeslot(self, wanted: TimeslotId) -> CheckedQuery:
        """The query whose answer holds a slot as long as it is free, if it may be asked. Raises BadUserInput."""
        window = window_of_slot(wanted.start, wanted.end)
        if window.start < self.earliest and not self._profiles.of_unit(wanted.care_unit).past:
            return CheckedQuery(None, None)
        return self._with_unconfirmed(TimeslotQuery(wanted.care_unit, window, wanted.resource, wanted.service))

    def wider_queries(self, query: TimeslotQuery) -> Iterator[CheckedQuery]:
        """The queries with fewer filters that are one call each, and hold all that the query's answer would.

        For a query by an id that Leyr refuses: slots may name one that the lists leave out.
        """
        for filters in wider_filters(query, self._profiles.of_unit(query.care_unit)):
            yield self._with_unconfirmed(TimeslotQuery(query.care_unit, query.window, *filters))

    def alternatives(self, taken: TimeslotId, window: Window) -> CheckedQuery:
        """The query whose answer holds what is free of the same service inside a window."""
        return self._with_unconfirmed(TimeslotQuery(taken.care_unit, window, service=taken.service))

    def of_owners(self, care_unit: CareUnitKey, resource: str | None, service: str | None) -> CheckedQuery:
        """A query by the ids that a client gave, for the lists that have to confirm them before they leave."""
        window = Window(self.now, self.now + _DEFAULT_WINDOW)
        return self._with_unconfirmed(TimeslotQuery(care_unit, window, resource, service))

    def _with_unconfirmed(self, query: TimeslotQuery, resource: bool = True, service: bool = True) -> CheckedQuery:  # noqa: FBT001, FBT002 # which of the two filters a client gave
        """The query, and the lists that have to confirm what a client gave of its filters."""
        is_odd = [
            is_given and each is not None and self.may_hide_a_personal_number(each)
            for each, is_given in zip(query.filters, (resource, service), strict=True)
        ]
        return CheckedQuery(query, UnitLists.of(resources=is_odd[0], services=is_odd[1]) if any(is_odd) else None)

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

    def checked_queries(
        self, care_unit: CareUnitKey, asked: TimeslotsRequest, resource: str | None = None, service: str | None = None
    ) -> Sequence[CheckedQuery]:
        """The same for whatever a field asks for. Raises BadUserInput and OperationTooLarge."""
        if isinstance(asked, TimeslotFilter):
            return (self.timeslot_query(care_unit, asked, resource, service),)
        return self.unit_queries(care_unit, asked, resource, service).queries or ()

    def unit_queries(
        self,
        care_unit: CareUnitKey,
        asked: AvailabilityRequest,
        resource: str | None = None,
        service: str | None = None,
    ) -> UnitQueries:
        """What an availability asks of a care unit, or of one of its resources or services by Leyr's id.

        Raises BadUserInput and OperationTooLarge.
        """
        question = care_unit, asked, resource, service
        found = self._unit_queries.get(question)
        if found is None:
            found = self._unit_queries[question] = self._new_unit_queries(*question)
        return found

    def _new_unit_queries(
        self, care_unit: CareUnitKey, asked: AvailabilityRequest, resource: str | None, service: str | None
    ) -> UnitQueries:
        profile = self._profiles.of_unit(care_unit)
        days = self._days_of(asked, asked.zone_within(profile.time_zone))
        resources = _owners(asked.filter.resource_ids, NodeType.RESOURCE, care_unit, resource)
        services = _owners(asked.filter.healthcare_service_ids, NodeType.HEALTHCARE_SERVICE, care_unit, service)
        window = asked.window(days, self.now)
        if window is not None and window.start < self.earliest and not profile.past:
            window = Window(self.earliest, window.end) if self.earliest < window.end else None
        queries: tuple[CheckedQuery, ...] | None = ()
        if window is not None:
            is_named = asked.filter.healthcare_service_names is not None and services is None
            if is_named and not (profile.names_service and profile.filter_policy is FilterPolicy.NONE_REQUIRED):
                queries = None
            else:
                queries = self._of_owners(TimeslotQuery(care_unit, window), resources, services, asked.filter)
        return UnitQueries(days, window, resources, services, queries)

    def of_services(
        self, care_unit: CareUnitKey, asked: AvailabilityRequest, found: UnitQueries, services: tuple[str, ...]
    ) -> UnitQueries:
        """What an availability asks when it is known which services are meant. Raises OperationTooLarge."""
        if found.window is None:
            return found._replace(services=services)
        query = TimeslotQuery(care_unit, found.window)
        return found._replace(
            services=services, queries=self._of_owners(query, found.resources, services, asked.filter)
        )

    def later(
        self, care_unit: CareUnitKey, asked: AvailabilityRequest, found: UnitQueries, window: Window
    ) -> UnitQueries:
        """The same as what was asked, of another window. Raises OperationTooLarge."""
        services = None if found.is_picked else found.services
        queries = self._of_owners(TimeslotQuery(care_unit, window), found.resources, services, asked.filter)
        return found._replace(window=window, queries=queries)

    def _of_owners(
        self,
        query: TimeslotQuery,
        resources: tuple[str, ...] | None,
        services: tuple[str, ...] | None,
        asked: AvailabilityFilter,
    ) -> tuple[CheckedQuery, ...]:
        """The queries that together ask for the free times of some owners; one for each pair of them."""
        number = (1 if resources is None else len(resources)) * (1 if services is None else len(services))
        if number > _MOST_OWNERS:
            raise OperationTooLarge(
                f"The filter names {number} pairs of a resource and a healthcare service; the limit is {_MOST_OWNERS}"
            )
        pairs = product((None,) if resources is None else resources, (None,) if services is None else services)
        given = asked.resource_ids is not None, asked.healthcare_service_ids is not None
        several = (TimeslotQuery(query.care_unit, query.window, *pair) for pair in pairs)
        return tuple(self._with_unconfirmed(each, *given) for each in several)

    def _days_of(self, asked: AvailabilityRequest, zone: ZoneInfo) -> CalendarDays:
        """The days of a range; care units of one zone share them."""
        found = self._days.get((asked.range, zone))
        if found is None:
            found = self._days[asked.range, zone] = asked.days(self.now, zone, self._widest_window)
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
        window = self._window(asked, self._profiles.of_unit(care_unit))
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
            default=min(_DEFAULT_WINDOW, self._widest_window),
            widest=self._widest_window,
            zone=profile.time_zone,
        )
        if profile.past or window.start >= self.earliest:
            return window
        return Window(self.earliest, window.end) if self.earliest < window.end else None


def _owners(
    given: Sequence[str] | None, node_type: NodeType, care_unit: CareUnitKey, own: str | None
) -> tuple[str, ...] | None:
    """The Leyr ids that a filter admits in a care unit; None where it admits all. Ids of other care units are ignored.

    Raises BadUserInput.
    """
    if own is not None:
        checked_leyr_id(own)
    if given is None:
        return None if own is None else (own,)
    found = dict.fromkeys(leyr_id_if_within(text, node_type, care_unit) for text in given)
    return tuple(each for each in found if each is not None and own in {None, each})
