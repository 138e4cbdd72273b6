"""The laws of caching: it changes no answer, costs no further call, and gives nothing that is too old."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import UpstreamRefused, UpstreamUnavailable
from gateway.domain.queries import Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList, instant
from gateway.domain.window import Window
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.profiles import Profiles
from tests.unit import strategies
from tests.unit.asking import Answer, Gateway, shown
from tests.unit.model_ehr import DAY, RESOURCES, SERVICES, START, UNIT, ModelEhr, ModelUnitLists, TrueSlot, query

law = settings(max_examples=150, deadline=None)
SECONDS = Lifetimes(15, 15)


@dataclass(frozen=True)
class Asked:
    """A request: how many seconds after the one before it, what for, and whether it takes cached data."""

    later: float
    queries: Sequence[TimeslotQuery]
    no_cache: bool = False


def requests(*strangers: str) -> st.SearchStrategy[list[Asked]]:
    later = st.sampled_from([0.0, 1.0, 6.0, 14.5, 15.0, 16.0, 31.0])
    queries = st.lists(strategies.queries(strangers), min_size=1, max_size=4)
    return st.lists(st.builds(Asked, later, queries, st.sampled_from([False] * 4 + [True])), min_size=1, max_size=6)


bounds = st.sampled_from([1_000, 6_000, 20_000, 64 * 1024 * 1024])


async def settled() -> None:
    """Let refreshes land."""
    for _ in range(30):
        await asyncio.sleep(0)


async def answered(gateway: Gateway, asked: Sequence[Asked], loaded: UnitLists) -> list[list[object]]:
    answers: list[list[object]] = []
    for each in asked:
        gateway.now += each.later
        request = gateway.request(ModelUnitLists(loaded), no_cache=each.no_cache)
        answers.append([shown(answer) for answer in await request.answer(each.queries)])
        request.close()
        await settled()
    return answers


async def calls_of(gateway: Gateway, ehr: ModelEhr, asked: Sequence[Asked], loaded: UnitLists) -> list[int]:
    counts = []
    for each in asked:
        before = len(ehr.calls)
        await answered(gateway, [each], loaded)
        counts.append(len(ehr.calls) - before)
    return counts


@law
@given(requests("stranger"), strategies.profiles, strategies.slots, strategies.lists, bounds, strategies.spills)
def test_every_answer_is_what_asking_alone_gives(
    asked: list[Asked],
    profile: EhrProfile,
    slots: list[TrueSlot],
    loaded: UnitLists,
    most_bytes: int,
    spill: timedelta,
) -> None:
    ehr = ModelEhr(slots, profile, spill=spill)
    gateway = Gateway(ehr, Profiles([profile]), SECONDS, most_bytes=most_bytes)

    answers = asyncio.run(answered(gateway, asked, loaded))

    for each, found in zip(asked, answers, strict=True):
        for asked_for, answer in zip(each.queries, found, strict=True):
            alone = Gateway(ModelEhr(slots, profile), Profiles([profile]))
            assert [[answer]] == asyncio.run(answered(alone, [Asked(0, [asked_for])], UnitLists.NONE))
            if "stranger" not in asked_for.filters:
                assert answer == ehr.expected(asked_for).slots


# What no answer says beforehand, such as that slots name nobody or that an id is unknown, may take a call more.
named_slots = strategies.slots.map(
    lambda slots: [TrueSlot(slot.start, slot.resource or RESOURCES[0], slot.service or SERVICES[0]) for slot in slots]
)


@law
@given(requests(), strategies.profiles, named_slots, strategies.lists, bounds)
def test_no_request_makes_more_calls_than_without_a_cache(
    asked: list[Asked], profile: EhrProfile, slots: list[TrueSlot], loaded: UnitLists, most_bytes: int
) -> None:
    remembering, forgetful = ModelEhr(slots, profile), ModelEhr(slots, profile)

    with_cache = asyncio.run(
        calls_of(Gateway(remembering, Profiles([profile]), SECONDS, most_bytes=most_bytes), remembering, asked, loaded)
    )
    without = asyncio.run(calls_of(Gateway(forgetful, Profiles([profile])), forgetful, asked, loaded))

    assert all(some <= others for some, others in zip(with_cache, without, strict=True)), (with_cache, without)


class Changing(ModelEhr):
    """Always something free, and each slot's length tells when it was asked for."""

    def __init__(self, profile: EhrProfile) -> None:
        grid = [START + timedelta(days=days / 2) for days in range(-2, 220)]
        super().__init__(
            [TrueSlot(at, resource, service) for at in grid for resource in RESOURCES for service in SERVICES], profile
        )
        self.gateway: Gateway

    def owned(self, query: TimeslotQuery) -> TimeslotList:
        asked_at = timedelta(seconds=self.gateway.now)
        return TimeslotList(
            replace(slot, end=(instant(slot.start) + asked_at).isoformat()) for slot in super().owned(query).slots
        )


@settings(law, max_examples=60)
@given(requests(), strategies.profiles, strategies.lists, bounds)
def test_no_answer_holds_anything_older_than_it_may_be(
    asked: list[Asked], profile: EhrProfile, loaded: UnitLists, most_bytes: int
) -> None:
    ehr = Changing(profile)
    ehr.gateway = gateway = Gateway(ehr, Profiles([profile]), SECONDS, most_bytes=most_bytes)

    async def watch() -> None:
        for each in asked:
            gateway.now += each.later
            request = gateway.request(ModelUnitLists(loaded), no_cache=each.no_cache)
            for asked_for, answer in zip(each.queries, await request.answer(each.queries), strict=True):
                if isinstance(answer, TimeslotList):
                    assert len(answer) == len(ModelEhr.owned(ehr, asked_for))
                    ages = [
                        gateway.now - (instant(slot.end or "") - instant(slot.start)).total_seconds()
                        for slot in answer.slots
                    ]
                    assert max(ages, default=0) < (SECONDS.served if not each.no_cache else 1e-9)
            request.close()
            await settled()

    asyncio.run(watch())


STOCKHOLM = EhrProfile("model", "Model")
BOTH = UnitLists.BOTH


class Clinic:
    """A clinic's gateway, and what each request got from where."""

    def __init__(self, profile: EhrProfile = STOCKHOLM, ehr: ModelEhr | None = None) -> None:
        grid = [START + timedelta(hours=hours) for hours in range(-24, 24 * 60, 6)]
        slots = [TrueSlot(at, resource, service) for at in grid for resource in RESOURCES for service in SERVICES]
        self.ehr = ehr or ModelEhr(slots, profile)
        self.ehr.slots = slots
        self.gateway = Gateway(self.ehr, Profiles([profile]), SECONDS)
        self.origins: list[str] = []

    async def ask(self, *queries: TimeslotQuery, no_cache: bool = False) -> list[object]:
        request = self.gateway.request(ModelUnitLists(BOTH), no_cache=no_cache)
        answers = [shown(each) for each in await request.answer(queries)]
        request.close()
        self.origins = [read.origin.value for read in request.scope.reads]
        await settled()
        assert answers == [self.ehr.owned(each).slots for each in queries]
        return answers

    def windows(self, since: int = 0) -> list[tuple[float, float]]:
        """The windows of the calls in days, but for the first so many."""
        steps = self.ehr.calls[since:]
        return [((step.window.start - START) / DAY, (step.window.end - START) / DAY) for step in steps]


def from_now(clinic: Clinic, days: float = 14) -> TimeslotQuery:
    """What a booking page asks: the days from this second on."""
    start = START + timedelta(hours=10, seconds=clinic.gateway.now)
    return TimeslotQuery(UNIT, Window(start, start + days * DAY))


@pytest.mark.parametrize(
    "inside",
    [query(1, 5), query(1, 2), query(4.75, 5), query(1, 5, "r1"), query(2, 3, None, "s2"), query(1, 4, "r2", "s1")],
)
async def test_a_query_inside_a_fresh_snapshot_takes_no_call(inside: TimeslotQuery) -> None:
    clinic = Clinic()
    await clinic.ask(query(1, 5))

    clinic.gateway.now += 14.9
    await clinic.ask(inside)

    assert clinic.origins == ["cached"]
    assert len(clinic.ehr.calls) == 1


async def test_many_fields_on_one_snapshot_are_one_read() -> None:
    clinic = Clinic()
    await clinic.ask(query(1, 5))

    await clinic.ask(*(query(1, 5, resource) for resource in RESOURCES))

    assert clinic.origins == ["cached"]


async def test_a_window_that_moves_with_the_clock_is_fetched_once_in_fifteen_seconds() -> None:
    clinic = Clinic()

    for _ in range(60):
        await clinic.ask(from_now(clinic))
        clinic.gateway.now += 1

    assert len(clinic.ehr.calls) == 4
    # Local midnight is 22 hours UTC before the change to winter time, 23 after it.
    assert {last for _, last in clinic.windows()} == {14 + 23 / 24}


def from_midnight(first: float, last: float, resource: str | None = None) -> TimeslotQuery:
    """Days of Stockholm, whose midnight is 22 hours UTC."""
    return query(first - 1 / 12, last - 1 / 12, resource)


@pytest.mark.parametrize(
    ("known", "asked", "fetched"),
    [((0, 2), (0, 4), (2, 4)), ((2, 4), (0, 3), (0, 2)), ((0, 1), (2, 2.5), (2, 3)), ((0, 2), (1, 2.25), (2, 3))],
)
async def test_extending_a_window_fetches_only_the_extension(
    known: tuple[float, float], asked: tuple[float, float], fetched: tuple[float, float]
) -> None:
    clinic = Clinic()
    await clinic.ask(from_midnight(*known))

    await clinic.ask(from_midnight(*asked))

    assert clinic.ehr.calls[1:] == [Step(UNIT, from_midnight(*fetched).window)]


async def test_missing_ranges_around_a_known_one_take_one_call() -> None:
    clinic = Clinic()
    await clinic.ask(from_midnight(1, 2))

    await clinic.ask(from_midnight(0, 3))

    assert clinic.ehr.calls[1:] == [Step(UNIT, from_midnight(0, 3).window)]


async def test_filtered_calls_are_cached_by_filter() -> None:
    clinic = Clinic(EhrProfile("model", "Model", FilterPolicy.ANY_ONE))
    await clinic.ask(query(0, 5))
    calls = len(clinic.ehr.calls)

    clinic.gateway.now += 10
    await clinic.ask(query(1, 4), query(1, 4, None, "s1"), query(2, 3, "r1", "s2"))

    assert len(clinic.ehr.calls) == calls == len(SERVICES)
    assert set(clinic.origins) == {"cached"}


async def test_filtered_calls_are_made_only_for_filters_that_are_not_cached() -> None:
    clinic = Clinic(EhrProfile("model", "Model", FilterPolicy.SERVICE))
    await clinic.ask(query(0, 5, None, "s1"))

    await clinic.ask(query(0, 5))

    assert [step.service for step in clinic.ehr.calls] == ["s1", "s2"]


@pytest.mark.parametrize("asked", [from_midnight(0, 4), from_midnight(0, 3.75), from_midnight(1, 2, "r1")])
async def test_stale_data_is_given_at_once_while_one_call_refreshes_it(asked: TimeslotQuery) -> None:
    clinic = Clinic()
    await clinic.ask(from_midnight(0, 4))
    clinic.gateway.now += 15
    requests = [clinic.gateway.request(ModelUnitLists(BOTH)) for _ in range(20)]

    # None of these gives way to the loop, so the call is still on its way when the last of them asks.
    given = [drained(each.answer([asked])) for each in requests]

    assert [shown(answer) for answers in given for answer in answers] == [clinic.ehr.owned(asked).slots] * 20
    assert {read.origin.value for each in requests for read in each.scope.reads} == {"stale"}
    for each in requests:
        each.close()
    await settled()
    await clinic.ask(asked)
    assert clinic.origins == ["cached"]
    assert len(clinic.ehr.calls) == 2


def drained(answering: Coroutine[object, object, list[Answer]]) -> list[Answer]:
    """What a coroutine returns that has nothing to wait for."""
    with pytest.raises(StopIteration) as end:
        answering.send(None)
    answers: list[Answer] = end.value.value
    return answers


async def test_a_refresh_is_rounded_up_too() -> None:
    clinic = Clinic()
    await clinic.ask(from_now(clinic))
    clinic.gateway.now += 20
    await clinic.ask(from_now(clinic))

    for _ in range(14):
        clinic.gateway.now += 1
        await clinic.ask(from_now(clinic))

    assert clinic.origins == ["cached"]
    assert len(clinic.ehr.calls) == 2


async def test_stale_data_is_given_for_thirty_seconds_while_refreshes_fail() -> None:
    clinic = Clinic()
    await clinic.ask(query(0, 5))
    clinic.ehr.sick_at = START

    clinic.gateway.now += 29.9
    await clinic.ask(query(0, 5))
    clinic.gateway.now += 0.1
    [answer] = await clinic.gateway.request(ModelUnitLists(BOTH)).answer([query(0, 5)])

    assert isinstance(answer, UpstreamUnavailable)


async def test_a_no_cache_request_is_not_served_from_the_cache_and_renews_it() -> None:
    clinic = Clinic()
    await clinic.ask(query(0, 5))
    clinic.gateway.now += 10
    await clinic.ask(query(0, 5), no_cache=True)

    clinic.gateway.now += 10
    await clinic.ask(query(0, 5))

    assert clinic.origins == ["cached"]
    assert len(clinic.ehr.calls) == 2


class Exact(ModelEhr):
    """Refuses windows that end at midnight in Stockholm, as if none of its windows may be longer than it likes."""

    def fetch(self, step: Step) -> TimeslotList:
        found = super().fetch(step)
        if step.window.end.hour >= 22:
            raise UpstreamRefused("BAD_INPUT")
        return found


async def test_an_ehr_that_refuses_a_rounded_up_window_gets_the_window_itself() -> None:
    clinic = Clinic(ehr=Exact([], STOCKHOLM))

    await clinic.ask(query(0, 3.5))
    await clinic.ask(query(10, 12.5))

    assert clinic.windows() == [(0, 3 + 22 / 24), (0, 3.5), (10, 12.5)]
    await clinic.ask(query(1, 3.5))
    assert clinic.origins == ["cached"]


async def test_requests_that_joined_a_refused_rounded_up_call_get_an_answer() -> None:
    clinic = Clinic(ehr=Exact([], STOCKHOLM))
    requests = [clinic.gateway.request(ModelUnitLists(BOTH)) for _ in range(50)]
    asked = [query(0, 3.5), query(0.5, 3.25, "r1")]

    answers = await asyncio.gather(*(each.answer(asked) for each in requests))

    assert all([shown(each) for each in found] == [clinic.ehr.owned(each).slots for each in asked] for found in answers)
    assert len(clinic.ehr.calls) <= 3


async def test_an_ehr_that_refuses_a_window_itself_is_still_rounded_up() -> None:
    clinic = Clinic(ehr=Exact([], STOCKHOLM))

    [answer] = await clinic.gateway.request(ModelUnitLists(BOTH)).answer([from_midnight(0, 3)])

    assert isinstance(answer, UpstreamRefused)
    assert clinic.gateway.calls.rounds_up("model")
    assert len(clinic.ehr.calls) == 1
