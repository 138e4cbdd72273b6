"""Timeslots for one request: planned together, fetched once, and shared out to whoever asked.

A step runs once a request, whoever asked first: a query that an earlier one covers waits for the earlier
one's steps. So a wide call that was started for `resources { timeslots }` also answers each resource.
"""

import asyncio
from collections.abc import Mapping, Sequence

from gateway.domain.ehr import EhrProfile, FilterPolicy
from gateway.domain.errors import GatewayError, NotFound, UpstreamInvalidAnswer
from gateway.domain.models import CareUnitKey
from gateway.domain.planning import (
    Lists,
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
from gateway.sources.profiles import Profiles, suspected

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
        self._planned: list[TimeslotQuery] = []
        self._unplanned: dict[TimeslotQuery, GatewayError] = {}
        self._flights: dict[Step, asyncio.Task[TimeslotList | GatewayError]] = {}
        self._planning = asyncio.Lock()
        self._gate = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def answer(self, queries: Sequence[TimeslotQuery]) -> list[TimeslotList | GatewayError]:
        """The slots of each query, or why there are none to give; in the order of the queries."""
        async with self._planning:
            await self._plan([query for query in dict.fromkeys(queries) if not self._is_covered(query)])
        return await asyncio.gather(*(self._answer_one(query) for query in queries))

    @property
    def _profile(self) -> EhrProfile:
        return self._profiles.of(self._care_unit.emr)

    def close(self) -> None:
        """Abandon what is still in flight."""
        for flight in self._flights.values():
            flight.cancel()

    async def _plan(self, queries: Sequence[TimeslotQuery]) -> None:
        """Start the calls for queries that no earlier one covers; note those that cannot be planned."""
        profile = self._profile
        policy = profile.filter_policy
        roster = await self._roster(queries, policy)
        if isinstance(roster, GatewayError):
            # What needs no list must not suffer from a list that cannot be had.
            self._unplanned.update((query, roster) for query in queries if not query.allowed_by(policy))
            queries = [query for query in queries if query.allowed_by(policy)]
            roster = Roster()
        serving = plan(queries, profile, roster).serving
        self._serving.update(serving)
        self._planned += queries
        self._start(serving)

    async def _roster(self, queries: Sequence[TimeslotQuery], policy: FilterPolicy) -> Roster | GatewayError:
        """The lists that the plan needs; those that the request fetches anyway cost nothing."""
        need = roster_need(queries, policy, self._rosters.asked_for(self._care_unit))
        roster, error = await self._lists(need)
        if policy is FilterPolicy.ANY_ONE and need != Lists():
            # Either list will do: where one is empty or cannot be had, the other is worth a call.
            if not (roster.resources or roster.services):
                roster, other_error = await self._lists(Lists(not need.resources, not need.services))
                error = error or other_error
            if roster.resources or roster.services:
                return roster
        return error or roster

    async def _lists(self, wanted: Lists) -> tuple[Roster, GatewayError | None]:
        """The wanted lists at once, and the first failure among them."""
        fetches = {
            "resources": self._rosters.resource_ids if wanted.resources else None,
            "services": self._rosters.service_ids if wanted.services else None,
        }
        names = [name for name, fetch in fetches.items() if fetch]
        found = await asyncio.gather(
            *(fetch(self._care_unit) for fetch in fetches.values() if fetch), return_exceptions=True
        )
        lists: dict[str, tuple[str, ...]] = {}
        failure: GatewayError | None = None
        for name, each in zip(names, found, strict=True):
            if isinstance(each, GatewayError):
                failure = failure or each
            elif isinstance(each, BaseException):
                raise each
            else:
                lists[name] = each
        return Roster(**lists), failure

    def _is_covered(self, query: TimeslotQuery) -> bool:
        """Whether earlier steps of this request answer a query, which is then noted as served by them."""
        if query in self._serving or query in self._unplanned:
            return True
        earlier = next((each for each in self._planned if each.covers(query)), None)
        if earlier is not None:
            self._serving[query] = tuple(step for step in self._serving[earlier] if serves(step, query))
        return earlier is not None

    async def _answer_one(self, query: TimeslotQuery) -> TimeslotList | GatewayError:
        if query in self._unplanned:
            return self._unplanned[query]
        steps = self._serving[query]
        answers = await self._landed(steps)
        if isinstance(answers, GatewayError):
            return await self._retried(query, steps, answers, self._profile)
        share = partition(query, answers)
        if share is None or (not share.slots and not await self._vouched_for(query, answers)):
            return await self._asked_alone(query, self._profile)
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
        self, query: TimeslotQuery, steps: Sequence[Step], error: GatewayError, profile: EhrProfile
    ) -> TimeslotList | GatewayError:
        """Another plan, where the failure suggests that the EHR wants a filter; else the failure itself."""
        refused = next(step for step in steps if self._flights[step].done() and self._flights[step].result() is error)
        stricter = suspected(profile, refused, error)
        if stricter is not None:
            answer = await self._asked_alone(query, stricter)
            if not isinstance(answer, GatewayError):
                self._profiles.remember(stricter)
            return answer
        of_the_query = refused.resource in {None, query.resource} and refused.service in {None, query.service}
        if isinstance(error, NotFound) and not of_the_query:
            return UpstreamInvalidAnswer("Leyr refuses an id that it lists itself", reference=error.reference)
        return error

    async def _asked_alone(self, query: TimeslotQuery, profile: EhrProfile) -> TimeslotList | GatewayError:
        roster = await self._roster([query], profile.filter_policy)
        if isinstance(roster, GatewayError):
            return roster
        steps = plan([query], profile, roster).serving[query]
        self._start({query: steps})
        answers = await self._landed(steps)
        if isinstance(answers, GatewayError):
            return await self._retried(query, steps, answers, profile)
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
