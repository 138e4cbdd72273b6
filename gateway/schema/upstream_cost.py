"""How many upstream calls an operation would take, counted before the first of them.

The calls are counted from the plan, as if nothing were cached, so that an operation is not refused on one day and
answered on another. Most operations are far below the limit, and a bound without planning says so. The calls for care
units that are not known yet are counted when their list has come. What a plan spreads over a list that is not known
yet, and what cannot be predicted, is stopped by the request's own count of calls (`FetchScope`).
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import Any

from graphql import OperationDefinitionNode

from gateway.domain.call_count import QueryBatch, UnitRequirements, calls_for
from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import GatewayError, OperationTooLarge
from gateway.domain.ids import EmrId, NodeType, TimeslotId
from gateway.domain.models import CareUnitKey
from gateway.domain.planner import fewest_calls
from gateway.domain.queries import ListedIds, TimeslotQuery, UnitLists, kept_filters
from gateway.schema.context import Context, Info
from gateway.schema.loaders import LIST_OF, Reads
from gateway.schema.lookahead import (
    AvailabilityOf,
    DocumentScope,
    FindingField,
    Lookahead,
    UnitRequest,
    root_fields_of,
    visible_care_units,
)
from gateway.schema.own_calls import own_calls
from gateway.schema.prefetch import is_asked_at_once
from gateway.schema.timeslot_queries import CheckedQuery

# The lists whose ids timeslots are filtered by.
_FILTERING = Reads.RESOURCES | Reads.HEALTHCARE_SERVICES
# The moment when the timeslots are asked for that a document names: before anything has come.
_THEMSELVES = "timeslots"
# Queries that one node asks of a care unit are counted by their plan; those of many nodes together may be more.
_MOST_QUERIES_PLANNED = 2_000
_DAY = timedelta(days=1)
# Where that many are made, an operation that is refused is told how many calls it would take at least.
_PLANS_OF_A_REFUSAL = 64
_UNITS_OF_A_REFUSAL = 1_000


def check_upstream_cost(info: Info) -> None:
    """Count the calls of the whole operation before a root field makes any. Raises OperationTooLarge.

    Each root field that calls upstream calls this first, and what lists care units again when it knows them.
    """
    context: Context = info.raw.context
    if not context.is_cost_settled:
        check_operation_cost(DocumentScope.of(info), info.raw.operation, context, info.memo)
    if context.named_timeslots:
        _start_named_timeslots(context)


def check_operation_cost(
    document: DocumentScope, operation: OperationDefinitionNode, context: Context, memo: dict[str, Any]
) -> None:
    """The same for a document; `memo` lasts as long as the compiled operation. Raises OperationTooLarge."""
    most = context.limits.upstream_calls
    if context.cost_refusal is None and not context.is_cost_settled:
        roots = root_fields_of(document, operation, memo)
        if not context.is_looked_ahead:
            context.is_looked_ahead = True
            _ask_timeslots_anew(document, context, roots)
        bound = _Bound(document, context, most)
        if sum(map(bound.of, roots)) > most:
            context.cost_refusal = _Count(document, context, most).refusal(roots)
        context.is_cost_settled = bound.is_whole and context.cost_refusal is None
    if context.cost_refusal is not None:
        raise OperationTooLarge(context.cost_refusal)


def _ask_timeslots_anew(document: DocumentScope, context: Context, roots: Iterable[FindingField]) -> None:
    """Have all timeslots of the care units asked anew of which the document names one."""
    for root in roots:
        for named in root.named(document, context):
            if isinstance(named, TimeslotId):
                context.loaders.ask_anew(named.care_unit)
                context.named_timeslots[named] = None


def _start_named_timeslots(context: Context) -> None:
    """Read the timeslots that the document names, all in one turn of the loop, so that they are planned together."""
    while context.named_timeslots:
        named, _ = context.named_timeslots.popitem()
        # The resolver of what is refused meets the refusal too, and one of an odd care unit waits for its list.
        with suppress(GatewayError):
            if not context.queries.may_hide_a_personal_number(named.care_unit.care_unit):
                context.start_timeslots(context.queries.query_of_timeslot(named))


class _Bound:
    """An upper bound of an operation's calls, without planning; not `is_whole` where care units are not known yet."""

    def __init__(self, document: DocumentScope, context: Context, most: int) -> None:
        """Beyond `most` calls it may be anything that is more."""
        self._document = document
        self._context = context
        self._most = most
        self.is_whole = True

    def of(self, root: FindingField) -> int:
        """The bound of one root field."""
        calls = own_calls(root, self._document)
        calls += sum(self._of_care_units(*each) for each in root.care_units(self._document, self._context))
        named = Counter(
            (each.care_unit, each.type)
            for each in root.named(self._document, self._context)
            if not isinstance(each, EmrId)
        )
        # The list that holds the node, and the one that holds its care unit.
        return calls + sum(
            nodes * (2 + self._within(key, root.lookahead(self._document, kind), own=kind is NodeType.TIMESLOT))
            for (key, kind), nodes in named.items()
        )

    def _of_care_units(self, listing: FindingField, profile: EhrProfile) -> int:
        lookahead = listing.lookahead(self._document, NodeType.CARE_UNIT)
        listed = self._context.loaders.known_care_units(profile.code)
        self.is_whole &= listed is not None
        if listed is None:
            return 1
        if not lookahead.timeslots or profile.is_plain:
            return 1 + len(listed.items) * (lookahead.most_calls + self._document.further_queries(lookahead))
        calls = 1
        for leyr_id in listed.items:
            key = CareUnitKey(profile.code, leyr_id)
            if calls <= self._most and self._context.access.sees(key):
                calls += self._within(key, lookahead)
        return calls

    def _within(self, key: CareUnitKey, lookahead: Lookahead, *, own: bool = False) -> int:
        """The calls for a care unit, without the list that holds it; `own` where a timeslot itself is asked for too.

        Lists may have to confirm what that one names.
        """
        profile = self._context.profiles.of_unit(key)
        further = self._document.further_queries(lookahead)
        if profile.is_plain or not (lookahead.timeslots or own):
            return lookahead.most_calls + further + 3 * own
        slots = len(lookahead.timeslots) + further + own
        if profile.longest_window is not None:
            # A window of so many calendar days is longer where clocks are put back, by less than a day.
            slots *= -(-(self._context.widest_window + _DAY) // profile.longest_window)
        listed_ids = self._context.loaders.known(key)
        resources, services = len(listed_ids.resources or ()), len(listed_ids.services or ())
        if profile.filter_policy is FilterPolicy.BOTH:
            slots *= max(1, resources) * max(1, services)
        elif profile.filter_policy is not FilterPolicy.NONE_REQUIRED:
            slots *= max(1, resources + services)
        if not (profile.names_resource and profile.names_service):
            slots *= 1 + resources + services
        return 2 + (lookahead.reads & ~_FILTERING).unit_lists + slots


class _Count:
    """The calls of an operation's plan, as far as the lists that are known now allow to make it."""

    def __init__(self, document: DocumentScope, context: Context, most: int) -> None:
        self._document = document
        self._context = context
        self._most = most
        self._own_calls = 0
        self._emrs: set[str] = set()
        self._requests: defaultdict[CareUnitKey, list[UnitRequest]] = defaultdict(list)
        self._visible: dict[str, list[CareUnitKey]] = {}
        self._planned: dict[Hashable, int] = {}

    def refusal(self, roots: Iterable[FindingField]) -> str | None:
        """Why the operation is refused, if its plan takes too many calls."""
        for root in roots:
            self._add(root)
        calls, and_more = self._own_calls + len(self._emrs), ""
        for count, (key, requests) in enumerate(self._requests.items()):
            if calls > self._most and count == _UNITS_OF_A_REFUSAL:
                and_more = " or more"
                break
            plans_on = calls <= self._most or len(self._planned) < _PLANS_OF_A_REFUSAL
            found = self._calls(key, tuple(dict.fromkeys(requests)), plan_anew=plans_on)
            if found is None:
                and_more = " or more"
                break
            calls += found
            if found > self._most:
                # A plan so large is not made to its end.
                and_more = " or more"
        if calls <= self._most:
            return None
        return f"The operation would take {calls} upstream calls{and_more}; the limit is {self._most}"

    def _add(self, root: FindingField) -> None:
        self._own_calls += own_calls(root, self._document)
        for listing, profile in root.care_units(self._document, self._context):
            self._emrs.add(profile.code)
            if profile.code not in self._visible:
                self._visible[profile.code] = visible_care_units(self._context, profile.code) or []
            for key in self._visible[profile.code]:
                self._requests[key].append(UnitRequest(listing, NodeType.CARE_UNIT))
        for named in root.named(self._document, self._context):
            if isinstance(named, EmrId):
                continue
            key = named.care_unit
            if (
                (named.type is NodeType.CARE_UNIT and not isinstance(root.finds, AvailabilityOf))
                or Reads.CARE_UNITS in root.lookahead(self._document, named.type).reads
                or self._context.queries.may_hide_a_personal_number(key.care_unit)
            ):
                self._emrs.add(key.emr)
            self._requests[key].append(UnitRequest.of(root, named))

    def _calls(self, key: CareUnitKey, requests: tuple[UnitRequest, ...], *, plan_anew: bool) -> int | None:
        """The calls for a care unit; None where they would have to be planned and `plan_anew` is not set."""
        profile = self._context.profiles.of_unit(key)
        listed_ids = self._context.loaders.known(key) if profile.needs_unit_lists else ListedIds()
        # A node id is of one care unit, and makes no query in another.
        alike = not any(each.root.lookahead(self._document, each.kind).names_ids for each in requests)
        likeness = profile, listed_ids, requests, None if alike else key
        if likeness not in self._planned:
            if not plan_anew:
                return None
            queries = sum(
                len(each.root.lookahead(self._document, each.kind).timeslots) + (each.timeslot is not None)
                for each in requests
            )
            if queries > _MOST_QUERIES_PLANNED:
                calls = self._fewest(key, requests, profile)
            else:
                calls = calls_for(self._requirements(key, requests), profile, listed_ids, self._most)
            self._planned[likeness] = calls
        return self._planned[likeness]

    def _fewest(self, key: CareUnitKey, requests: Sequence[UnitRequest], profile: EhrProfile) -> int:
        """The fewest calls for what many nodes of a care unit ask, found without going through the queries of each.

        What may take more is stopped by the request's own count of calls.
        """
        nodes = Counter((each.root, each.kind) for each in requests)
        one_of_each = {(each.root, each.kind): each for each in requests}
        return max(
            nodes[alike] * calls if is_apart else calls
            for alike, one in one_of_each.items()
            for calls, is_apart in self._calls_of_each(key, one, profile)
        )

    def _calls_of_each(self, key: CareUnitKey, one: UnitRequest, profile: EhrProfile) -> Iterator[tuple[int, bool]]:
        """The calls that each query of a node takes at least, and whether no call serves other such nodes too."""
        yield 0, False
        for batch in self._requirements(key, [one]).batches:
            for query in batch.queries if batch.of_each is UnitLists.NONE else ():
                is_apart = any(
                    own is not None and own == kept
                    for own, kept in zip(one.own_filters, kept_filters(query, profile), strict=True)
                )
                yield fewest_calls(query, profile, ListedIds()), is_apart

    def _requirements(self, key: CareUnitKey, requests: Sequence[UnitRequest]) -> UnitRequirements:
        # The lists that hold what the document names are read at once.
        asked = _UnitAsked(reduce(or_, (LIST_OF[one.kind] for one in requests), Reads.NOTHING))
        profile, queries = self._context.profiles.of_unit(key), self._context.queries
        for one in requests:
            lookahead, moment = one.root.lookahead(self._document, one.kind), one.moment
            asked.reads[moment] |= lookahead.reads
            if one.timeslot is not None:
                with suppress(GatewayError):  # its resolver meets the refusal too, and makes no call
                    asked.add(queries.query_of_timeslot(one.timeslot), _THEMSELVES)
            for field in self._document.asked(lookahead):
                # A field whose arguments are refused will say so itself, and makes no call.
                with suppress(GatewayError):
                    filters = one.own_filters if field.of is None else (None, None)
                    asked.reads[moment] |= Reads.HEALTHCARE_SERVICES if field.names_services else Reads.NOTHING
                    for checked in queries.checked_queries(key, field.request, *filters):
                        asked.add(checked, moment, _of_each(checked.query, field.of, profile))
        return asked.requirements


class _UnitAsked:
    """What is asked of a care unit, by the moment at which it is: queries of one moment are planned together.

    `reads` has for each moment what is read by then.
    """

    def __init__(self, at_once: Reads) -> None:
        self.reads: defaultdict[Hashable, Reads] = defaultdict(lambda: at_once)
        self._at_once = at_once
        self._queries: defaultdict[tuple[Hashable, UnitLists], list[TimeslotQuery]] = defaultdict(list)

    def add(self, checked: CheckedQuery, moment: Hashable, of_each: UnitLists = UnitLists.NONE) -> None:
        """Add a query that is asked at a moment, or when lists have confirmed its ids."""
        query, unconfirmed = checked
        if unconfirmed is not None:
            moment = unconfirmed
            self.reads[moment] |= _reads_of(unconfirmed)
        if query is not None:
            self._queries[moment, of_each].append(query)

    @property
    def requirements(self) -> UnitRequirements:
        """All that is asked."""
        batches = (
            QueryBatch(tuple(queries), _lists_of(self.reads[moment]), of_each)
            for (moment, of_each), queries in self._queries.items()
        )
        reads = reduce(or_, self.reads.values(), self._at_once)
        return UnitRequirements(_lists_of(reads), tuple(batches), (reads & ~_FILTERING).unit_lists)


def _of_each(query: TimeslotQuery | None, of: str | None, profile: EhrProfile) -> UnitLists:
    """The list whose nodes ask by themselves what a field below them asks, when it has come."""
    if query is None or of is None or is_asked_at_once(query, of, profile):
        return UnitLists.NONE
    return UnitLists.of(resources=of == NodeType.RESOURCE, services=of == NodeType.HEALTHCARE_SERVICE)


def _lists_of(reads: Reads) -> UnitLists:
    return UnitLists.of(resources=Reads.RESOURCES in reads, services=Reads.HEALTHCARE_SERVICES in reads)


def _reads_of(lists: UnitLists) -> Reads:
    resources = Reads.RESOURCES if lists.resources else Reads.NOTHING
    return resources | (Reads.HEALTHCARE_SERVICES if lists.services else Reads.NOTHING)
