"""Timeslots for one request: planned together, fetched once, and shared out to whoever asked."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import GatewayError, NotFound, OperationTooLarge, UpstreamInvalidAnswer, UpstreamRefused
from gateway.domain.models import CareUnitKey
from gateway.domain.partition import lacks_owner, partition, unconfirmed_ids
from gateway.domain.queries import Step, TimeslotQuery
from gateway.domain.timeslots import TimeslotList, joined
from gateway.fetch.backend import UnitListLoader
from gateway.fetch.coverage import Part, QueryCoverage
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.profiles import suspected
from gateway.fetch.request_answers import Source
from gateway.fetch.timeslot_calls import TimeslotCalls

Deliver: TypeAlias = Callable[[TimeslotQuery, TimeslotList | GatewayError], None]


class TimeslotFetcher:
    """The timeslots of one care unit, for one request."""

    def __init__(
        self, care_unit: CareUnitKey, source: TimeslotCalls, unit_lists: UnitListLoader, scope: FetchScope
    ) -> None:
        self._care_unit = care_unit
        self._source = source
        self._unit_lists = unit_lists
        self._parts = QueryCoverage(care_unit, source, unit_lists, scope)
        self._planning = asyncio.Lock()

    def from_cache(self, query: TimeslotQuery) -> TimeslotList | None:
        """The slots of a query, where fresh snapshots settle it."""
        return self._parts.from_cache(query)

    async def answer(self, queries: Sequence[TimeslotQuery], deliver: Deliver) -> None:
        """Deliver to each query its slots, or why there are none to give, as soon as they are there."""
        async with self._planning:
            await self._parts.plan(list(dict.fromkeys(queries)))
        groups: defaultdict[frozenset[Source], list[TimeslotQuery]] = defaultdict(list)
        for query in queries:
            groups[frozenset(part.source for part in self._parts.of(query))].append(query)
        await _concurrently(self._answer_alike(*group, deliver) for group in groups.items())

    async def _answer_alike(
        self, sources: Iterable[Source], queries: Sequence[TimeslotQuery], deliver: Deliver
    ) -> None:
        """Queries that wait for the same calls wait together: a task a query would cost more than its answer."""
        for source in sources:
            await _landed(source)
        open_ones = []
        for query in queries:
            share = self._settled(query)
            if share is None:
                open_ones.append(query)
            else:
                deliver(query, share)

        async def answer_one(query: TimeslotQuery) -> None:
            deliver(query, await self._answer_one(query))

        await _concurrently(answer_one(query) for query in open_ones)

    def _settled(self, query: TimeslotQuery) -> TimeslotList | None:
        """The share of a query whose calls have landed, where nothing about it is left open."""
        shares: list[TimeslotList] = []
        for part in self._parts.of(query):
            answer = part.source.answer
            share = None if answer is None else partition(part.query, {part.step: answer})
            if share is None:
                return None
            shares.append(share)
        return joined(shares) if any(share.slots for share in shares) else None

    @property
    def _profile(self) -> EhrProfile:
        return self._source.profile(self._care_unit)

    async def _answer_one(self, query: TimeslotQuery) -> TimeslotList | GatewayError:
        if query in self._parts.unplanned:
            return self._parts.unplanned[query]
        return await self._shared_out(query, self._parts.of(query), self._profile, alone=False)

    async def _shared_out(
        self, query: TimeslotQuery, parts: Sequence[Part], profile: EhrProfile, *, alone: bool
    ) -> TimeslotList | GatewayError:
        answers: dict[Step, TimeslotList] = {}
        shares: list[TimeslotList] = []
        for part in parts:
            answer = await _landed(part.source)
            if isinstance(answer, GatewayError):
                return await self._retried(query, part.step, answer, profile)
            answers[part.step] = answer
            share = partition(part.query, {part.step: answer})
            if share is None:
                return await self._unshared(part, answer, query, profile, alone=alone)
            shares.append(share)
        found = joined(shares) if shares else TimeslotList()
        if found.slots or alone:
            return found
        return await self._confirmed(query, answers)

    async def _unshared(
        self, part: Part, answer: TimeslotList, query: TimeslotQuery, profile: EhrProfile, *, alone: bool
    ) -> TimeslotList | GatewayError:
        """Another plan, where the slots did not say whose they are."""
        if alone:
            return UpstreamInvalidAnswer("Leyr's timeslots do not say whose they are")
        found = lacks_owner(part.query, {part.step: answer})
        self._source.learn_lacks_owner(self._care_unit, found)
        stricter = profile.after_lacking_owner(resource=found.resources, service=found.services)
        return await self._asked_alone(query, stricter)

    async def _confirmed(
        self, query: TimeslotQuery, answers: Mapping[Step, TimeslotList]
    ) -> TimeslotList | GatewayError:
        """What a query gets that no slot is for: nothing, if its ids exist."""
        doubt = unconfirmed_ids(query, answers)
        try:
            exists = (
                not doubt.resources or query.resource in await self._unit_lists.resource_ids(self._care_unit)
            ) and (not doubt.services or query.service in await self._unit_lists.service_ids(self._care_unit))
        except GatewayError:
            exists = False
        if not exists:
            # Whether an id that Leyr does not list is refused or has nothing free is for Leyr to say.
            return await self._asked_alone(query, self._profile)
        return TimeslotList()

    async def _retried(
        self, query: TimeslotQuery, refused: Step, error: GatewayError, profile: EhrProfile
    ) -> TimeslotList | GatewayError:
        """Another plan, where the failure suggests that the EHR wants another call; else the failure itself."""
        stricter = suspected(profile, refused, error)
        if stricter is not None:
            answer = await self._asked_alone(query, stricter)
            if not isinstance(answer, GatewayError):
                self._source.learn(stricter)
            return answer
        if isinstance(error, UpstreamRefused) and not query.window.contains(refused.window):
            answer = await self._asked_alone(query, profile)
            if not isinstance(answer, GatewayError) and self._parts.is_rounded(query, refused):
                self._source.learn_exact(self._care_unit.emr)
            return answer
        by_list = refused.resource not in {None, query.resource} or refused.service not in {None, query.service}
        # Of a listed id and one that a client gave, the client's is the likelier to be unknown.
        if isinstance(error, NotFound) and by_list and query.resource is None and query.service is None:
            return UpstreamInvalidAnswer("Leyr refuses an id that it lists itself", reference=error.reference)
        return error

    async def _asked_alone(self, query: TimeslotQuery, profile: EhrProfile) -> TimeslotList | GatewayError:
        """The answer of calls that are made for this query, whatever is known."""
        try:
            parts = await self._parts.alone(query, profile)
        except OperationTooLarge as error:
            return error
        if isinstance(parts, GatewayError):
            return parts
        return await self._shared_out(query, parts, profile, alone=True)


async def _landed(source: Source) -> TimeslotList | GatewayError:
    if source.answer is not None:
        return source.answer
    try:
        return await source.outcome()
    except GatewayError as error:
        return error


async def _concurrently(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do everything at once, and what is alone without a task of its own."""
    everything = list(work)
    if len(everything) == 1:
        await everything[0]
    elif everything:
        await asyncio.gather(*everything)
