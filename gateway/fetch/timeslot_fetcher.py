"""The timeslots of one request: its queries are planned together, and each gets its share of the answers."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import (
    GatewayError,
    NotFound,
    OperationTooLarge,
    RateLimited,
    UpstreamInvalidAnswer,
    UpstreamRefused,
)
from gateway.domain.pieces import PIECE, InPieces
from gateway.domain.queries import (
    Filters,
    Step,
    TimeslotQuery,
    UnitLists,
    lacks_owner,
    partition,
    unconfirmed_ids,
    wider_filters,
)
from gateway.domain.timeslots import TimeslotList, joined, joined_in_pieces
from gateway.fetch.coverage import QueryCoverage
from gateway.fetch.known_sources import CoveredRange
from gateway.fetch.profiles import suspected_profile
from gateway.fetch.single_flight import SharedCall
from gateway.fetch.snapshots import Snapshot
from gateway.fetch.timeslot_calls import Source

# Queries that get their slots, or go on for them, before others have their turn.
_AT_ONCE = 250
_PIECE = 10 * _AT_ONCE
# What calls that bring fewer hold, is bounded by the number of calls.
_MANY_SLOTS = 200

Deliver: TypeAlias = Callable[[TimeslotQuery, TimeslotList | GatewayError], None]


class AnsweredParts(NamedTuple):
    """What is known of a query that failed: the slots of some owners, and why those of the others are not known."""

    found: TimeslotList
    failed: Mapping[Filters, GatewayError]


class TimeslotFetcher:
    """The timeslots of one care unit, for one request."""

    def __init__(self, coverage: QueryCoverage) -> None:
        self._coverage = coverage
        self._care_unit = coverage.care_unit
        self._calls = coverage.calls
        self._unit_lists = coverage.unit_lists
        self._resources: frozenset[str] | None = None
        self._services: frozenset[str] | None = None

    async def answer(self, queries: Sequence[TimeslotQuery], deliver: Deliver) -> None:
        """Deliver to each query its slots or its error, as soon as they are there."""
        await self._coverage.plan(list(dict.fromkeys(queries)))
        groups: defaultdict[frozenset[Source], list[TimeslotQuery]] = defaultdict(list)
        for count, query in enumerate(queries, 1):
            if count % _PIECE == 0:
                await asyncio.sleep(0)
            groups[frozenset(each.source for each in self._coverage.of(query))].append(query)
        await _concurrently(self._answer_group(*group, deliver) for group in groups.items())

    async def _answer_group(
        self, sources: Iterable[Source], queries: Sequence[TimeslotQuery], deliver: Deliver
    ) -> None:
        """Answer queries that wait for the same calls: a task for each query would cost more than its answer."""
        for source in sources:
            self._count(source, await _result(source))
        unsettled = []
        for count, query in enumerate(queries, 1):
            shares = self._settled(query)
            if shares is None:
                unsettled.append(query)
            else:
                deliver(query, await _joined(shares))
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)

        async def answer_one(query: TimeslotQuery) -> None:
            ranges = self._coverage.of(query)
            error = self._coverage.errors.get(query)
            deliver(query, error or await self._joined(query, ranges, self._profile, separate=False))

        await _concurrently(answer_one(query) for query in unsettled)

    def _count(self, source: Source, answer: TimeslotList | GatewayError) -> None:
        if isinstance(answer, TimeslotList) and len(answer.slots) > _MANY_SLOTS:
            self._coverage.count_slots(source, len(answer.slots))

    def _settled(self, query: TimeslotQuery) -> Sequence[TimeslotList] | None:
        """The shares of a query whose calls are done; None where it takes more than these to answer it."""
        shares: list[TimeslotList] = []
        for held, step, source in self._coverage.of(query):
            answer = source.answer
            self._coverage.answers.use(step, source)
            share = None if answer is None else partition(held, step, answer)
            if share is None:
                return None
            shares.append(share)
        if not any(share.slots for share in shares):
            return None
        self._coverage.answers.answered(query, [each.source for each in self._coverage.of(query)])
        return shares

    async def _joined(
        self, query: TimeslotQuery, ranges: Sequence[CoveredRange], profile: EhrProfile, *, separate: bool
    ) -> TimeslotList | GatewayError:
        """The slots of a query from its ranges, which `separate` says are of calls made for it alone."""
        answers: dict[Step, TimeslotList] = {}
        shares: list[TimeslotList] = []
        sources = [each.source for each in ranges]
        unknown: tuple[Step, NotFound] | None = None
        for held, step, source in ranges:
            answer = await _result(source)
            if isinstance(answer, NotFound) and step.filter_count:
                wider = await self._shares_of_wider(held, step, profile)
                if isinstance(wider, GatewayError):
                    return wider
                if wider is not None:
                    unknown = step, answer
                    shares += wider.values()
                    sources += wider
                    continue
            if isinstance(answer, GatewayError):
                return await self._retry(query, step, answer, profile)
            self._coverage.answers.use(step, source)
            answers[step] = answer
            self._count(source, answer)
            share = partition(held, step, answer)
            if share is None:
                return await self._by_owner(query, lacks_owner(held, step, answer), profile, separate=separate)
            shares.append(share)
        slots = await _joined(shares)
        if unknown is not None and not slots.slots:
            return await self._retry(query, *unknown, profile)
        self._coverage.answers.answered(query, sources)
        if slots.slots or separate or await self._exists(query, answers):
            return slots
        # Whether an id that Leyr does not list is refused or has nothing free is for Leyr to say.
        return await self._answer_separately(query, self._profile)

    async def _by_owner(
        self, query: TimeslotQuery, lacking: UnitLists, profile: EhrProfile, *, separate: bool
    ) -> TimeslotList | GatewayError:
        """The answer of calls by the owners that slots lack, for a query that these do not tell its own."""
        if separate:
            return UpstreamInvalidAnswer("Leyr's timeslots do not say whose they are")
        self._calls.profiles.learn_lacks_owner(self._care_unit, lacking)
        stricter = profile.after_lacking_owner(resource=lacking.resources, service=lacking.services)
        return await self._answer_separately(query, stricter)

    async def _shares_of_wider(
        self, held: TimeslotQuery, unknown: Step, profile: EhrProfile
    ) -> dict[Source, TimeslotList] | GatewayError | None:
        """A range's shares of answers to calls with fewer filters, where Leyr does not know an id of its own call.

        Slots may name an id that the lists leave out. Whoever asks for them beside such a call finds them in its
        answer, so they must be found without it too. None where no such call tells.
        """
        # The call may have been for others too, and have had fewer filters than the range's own would have had.
        alone = TimeslotQuery(
            held.care_unit, held.window, held.resource or unknown.resource, held.service or unknown.service
        )
        for filters in wider_filters(alone, profile):
            shares: dict[Source, TimeslotList] = {}
            wider = TimeslotQuery(self._care_unit, unknown.window, *filters)
            try:
                ranges = await self._coverage.cover_separately(wider, profile)
            except (OperationTooLarge, RateLimited) as error:
                return error
            if isinstance(ranges, GatewayError):
                return ranges
            for _, step, source in ranges:
                answer = await _result(source)
                if isinstance(answer, GatewayError):
                    if answer.retryable:
                        return answer
                    break
                share = partition(held, step, answer)
                if share is None:
                    break
                self._coverage.answers.use(step, source)
                self._count(source, answer)
                shares[source] = share
            else:
                return shares
        return None

    async def _exists(self, query: TimeslotQuery, answers: dict[Step, TimeslotList]) -> bool:
        """Whether the ids of a query are known to exist, although no slot was found for it."""
        unconfirmed = unconfirmed_ids(query, answers)
        try:
            if unconfirmed.resources and self._resources is None:
                self._resources = frozenset(await self._unit_lists.resource_ids(self._care_unit))
            if unconfirmed.services and self._services is None:
                self._services = frozenset(await self._unit_lists.service_ids(self._care_unit))
        except GatewayError:
            return False
        return (not unconfirmed.resources or query.resource in (self._resources or ())) and (
            not unconfirmed.services or query.service in (self._services or ())
        )

    async def _retry(
        self, query: TimeslotQuery, refused: Step, error: GatewayError, profile: EhrProfile
    ) -> TimeslotList | GatewayError:
        """The answer of other calls, where the failure suggests that the EHR wants them; else the failure itself."""
        stricter = suspected_profile(profile, refused, error)
        if stricter is not None:
            answer = await self._answer_separately(query, stricter)
            if not isinstance(answer, GatewayError):
                self._calls.profiles.learn(stricter)
            return answer
        if isinstance(error, UpstreamRefused) and not query.window.contains(refused.window):
            answer = await self._answer_separately(query, profile)
            if not isinstance(answer, GatewayError) and self._coverage.is_rounded_up(query, refused):
                self._calls.learn_not_to_round_up(self._care_unit.emr)
            return answer
        by_list = refused.resource not in {None, query.resource} or refused.service not in {None, query.service}
        # Of a listed id and one that a client gave, the client's is the likelier to be unknown.
        if isinstance(error, NotFound) and by_list and query.filter_count == 0:
            return UpstreamInvalidAnswer("Leyr refuses an id that it lists itself", reference=error.reference)
        return error

    async def _answer_separately(self, query: TimeslotQuery, profile: EhrProfile) -> TimeslotList | GatewayError:
        """The answer of calls that are made for this query alone, whatever is known."""
        try:
            ranges = await self._coverage.cover_separately(query, profile)
        except (OperationTooLarge, RateLimited) as error:
            return error
        if isinstance(ranges, GatewayError):
            return ranges
        return await self._joined(query, ranges, profile, separate=True)

    @property
    def _profile(self) -> EhrProfile:
        return self._calls.profiles.of_unit(self._care_unit)


async def answered_parts(coverage: QueryCoverage, query: TimeslotQuery, error: GatewayError) -> AnsweredParts | None:
    """What calls for single owners brought of a query that was spread over them, and that failed with `error`.

    None where that is nothing: where each call failed, or none was for some owners alone. Calls that are pending still
    are not waited for; the query failed before them.
    """
    ranges = coverage.of(query)
    failed: dict[Filters, GatewayError] = {}
    shares: list[TimeslotList] = []
    for held, step, source in ranges:
        answer = source.answer
        if answer is None:
            owners = held.resource or step.resource, held.service or step.service
            if owners == query.filters:
                return None
            failure = source.failure if isinstance(source, SharedCall) else None
            failed.setdefault(owners, failure or error)
            continue
        share = partition(held, step, answer)
        if share is None:
            return None
        coverage.answers.use(step, source)
        coverage.count_slots(source, len(answer))
        shares.append(share)
    if not shares or not failed:
        return None
    found = await _joined(shares)
    coverage.answers.answered(query, [each.source for each in ranges])
    return AnsweredParts(found, failed)


async def _result(source: Source) -> TimeslotList | GatewayError:
    if isinstance(source, Snapshot):
        return source.answer
    answer = source.answer
    try:
        return await source.wait() if answer is None else answer
    except GatewayError as error:
        return error


async def _joined(shares: Sequence[TimeslotList]) -> TimeslotList:
    """Several shares as one list; long ones in pieces."""
    if len(shares) == 1 or sum(map(len, shares)) <= PIECE:
        return joined(shares)
    return await InPieces(joined_in_pieces(shares))


async def _concurrently(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Await everything, so many begun in a turn of the loop; a single coroutine needs no task."""
    left = iter(work)
    some = list(islice(left, _AT_ONCE))
    if len(some) == 1:
        await some[0]
    elif len(some) < _AT_ONCE:
        await asyncio.gather(*some)
    else:
        await asyncio.gather(*some, _later(left))


async def _later(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.sleep(0)
    await _concurrently(work)
