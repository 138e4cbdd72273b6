"""Timeslots for one request: planned together, fetched once, and shared out to whoever asked.

A step runs once a request, whoever asked first: a query that an earlier one covers waits for the earlier
one's steps. So a wide call that was started for `resources { timeslots }` also answers each resource.
"""

import asyncio
from collections.abc import Mapping, Sequence

from gateway.domain.ehr import FilterPolicy
from gateway.domain.errors import GatewayError, NotSupported, UpstreamInvalidAnswer
from gateway.domain.models import CareUnitKey
from gateway.domain.planning import (
    Roster,
    Step,
    TimeslotQuery,
    partition,
    plan,
    roster_need,
    serves,
    unproven,
)
from gateway.domain.timeslots import TimeslotList
from gateway.sources.backend import Rosters, SchedulingBackend
from gateway.sources.profiles import Profiles

# Where an EHR wants a filter, one query may become a call for each resource; a clinic gets them a few at a time.
_CALLS_AT_ONCE = 8


class TimeslotReader:
    """The timeslots of one care unit, for one request."""

    def __init__(
        self, care_unit: CareUnitKey, backend: SchedulingBackend, profiles: Profiles, rosters: Rosters
    ) -> None:
        self._care_unit = care_unit
        self._backend = backend
        self._profiles = profiles
        self._rosters = rosters
        self._serving: dict[TimeslotQuery, tuple[Step, ...]] = {}
        self._flights: dict[Step, asyncio.Task[TimeslotList | GatewayError]] = {}
        self._planning = asyncio.Lock()
        self._gate = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def answer(self, queries: Sequence[TimeslotQuery]) -> list[TimeslotList | GatewayError]:
        """The slots of each query, or why there are none to give; in the order of the queries."""
        try:
            async with self._planning:
                await self._plan(queries)
        except GatewayError as error:
            return [error] * len(queries)
        return await asyncio.gather(*(self._answer_one(query) for query in queries))

    def close(self) -> None:
        """Abandon what is still in flight."""
        for flight in self._flights.values():
            flight.cancel()

    async def _plan(self, queries: Sequence[TimeslotQuery]) -> None:
        """Start the calls for what no earlier query of this request covers."""
        new = [query for query in dict.fromkeys(queries) if self._serving_steps(query) is None]
        if new:
            serving = await self._planned(new)
            self._serving.update(serving)
            self._start(serving)

    async def _planned(self, queries: Sequence[TimeslotQuery]) -> Mapping[TimeslotQuery, tuple[Step, ...]]:
        profile = self._profiles.of(self._care_unit.emr)
        return plan(queries, profile, await self._roster(queries, profile.filter_policy)).serving

    async def _roster(self, queries: Sequence[TimeslotQuery], policy: FilterPolicy) -> Roster:
        """The lists that the plan needs; those that the request fetches anyway cost nothing."""
        unit = self._care_unit
        need = roster_need(queries, policy, self._rosters.asked_for(unit))
        return Roster(
            resources=await self._rosters.resource_ids(unit) if need.resources else None,
            services=await self._rosters.service_ids(unit) if need.services else None,
        )

    def _serving_steps(self, query: TimeslotQuery) -> tuple[Step, ...] | None:
        if query in self._serving:
            return self._serving[query]
        for earlier, steps in self._serving.items():
            if earlier.covers(query):
                return tuple(step for step in steps if serves(step, query))
        return None

    async def _answer_one(self, query: TimeslotQuery) -> TimeslotList | GatewayError:
        steps = self._serving_steps(query) or ()
        answers = await self._landed(steps)
        if isinstance(answers, GatewayError):
            return await self._retried(query, steps, answers)
        share = partition(query, answers)
        if share is None or (not share.slots and not await self._vouched_for(query, answers)):
            return await self._asked_alone(query)
        return share

    async def _vouched_for(self, query: TimeslotQuery, answers: Mapping[Step, TimeslotList]) -> bool:
        """Whether a query that got nothing asked for ids that exist."""
        doubt = unproven(query, answers)
        at_hand = self._rosters.asked_for(self._care_unit)
        if (doubt.resources and not at_hand.resources) or (doubt.services and not at_hand.services):
            return False
        try:
            return (not doubt.resources or query.resource in await self._rosters.resource_ids(self._care_unit)) and (
                not doubt.services or query.service in await self._rosters.service_ids(self._care_unit)
            )
        except GatewayError:
            return False

    async def _retried(
        self, query: TimeslotQuery, steps: Sequence[Step], error: GatewayError
    ) -> TimeslotList | GatewayError:
        """Another plan, where the failure teaches that the EHR wants a filter; else the failure itself."""
        if not isinstance(error, NotSupported):
            return error
        refused = next(step for step in steps if self._flights[step].done() and self._flights[step].result() is error)
        return await self._asked_alone(query) if self._profiles.learn(refused, error) else error

    async def _asked_alone(self, query: TimeslotQuery) -> TimeslotList | GatewayError:
        try:
            steps = (await self._planned([query]))[query]
        except GatewayError as error:
            return error
        self._start({query: steps})
        answers = await self._landed(steps)
        if isinstance(answers, GatewayError):
            return await self._retried(query, steps, answers)
        share = partition(query, answers)
        return UpstreamInvalidAnswer("Leyr's timeslots do not say whose they are") if share is None else share

    def _start(self, serving: Mapping[TimeslotQuery, tuple[Step, ...]]) -> None:
        for steps in serving.values():
            for step in steps:
                if step not in self._flights:
                    self._flights[step] = asyncio.create_task(self._fetch(step))

    async def _fetch(self, step: Step) -> TimeslotList | GatewayError:
        async with self._gate:
            try:
                return await self._backend.timeslots(step)
            except GatewayError as error:
                return error

    async def _landed(self, steps: Sequence[Step]) -> dict[Step, TimeslotList] | GatewayError:
        answers = {}
        for step in steps:
            landed = await asyncio.shield(self._flights[step])
            if isinstance(landed, GatewayError):
                return landed
            answers[step] = landed
        return answers
