"""Gateways that share timeslots while logs are lost, messages come late, connections are cut and requests give up."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import UpstreamUnavailable
from gateway.domain.queries import Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.profiles import Profiles
from tests.integration.shared_store.loop_fleet import Fleet
from tests.stores import Store, running_store, until
from tests.unit.asking import Answer
from tests.unit.model_ehr import START, UNIT, ModelEhr, ModelUnitLists, TrueSlot, query

PROFILE = EhrProfile(UNIT.emr, "Model", FilterPolicy.NONE_REQUIRED, None)
KEPT = Lifetimes(15, 15)
SLOTS = [TrueSlot(START + timedelta(hours=8 + number), "r1", "s1") for number in range(4)]
DAY_ONE = query(0, 1)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with running_store() as running:
        yield running


class HeldEhr(ModelEhr):
    """Answers what is free when a call arrives, when a test lets it, or fails."""

    def __init__(self) -> None:
        super().__init__(SLOTS, PROFILE)
        self.clock = 1_000.0
        self.held: list[asyncio.Future[None]] = []
        self.holds = False

    async def timeslots(self, step: Step) -> TimeslotList:
        self.clock += 0.001
        answer = self.fetch(step)
        answer.began = self.clock
        if self.holds:
            self.held.append(asyncio.get_running_loop().create_future())
            await self.held[-1]
        return answer

    def let(self, error: Exception | None = None) -> None:
        held, self.held = self.held, []
        for each in held:
            if each.cancelled():
                continue
            if error is None:
                each.set_result(None)
            else:
                each.set_exception(error)


class Fleets:
    """Gateways over one store and one EHR."""

    def __init__(self, fleet: Fleet, ehr: HeldEhr) -> None:
        self.fleet = fleet
        self.ehr = ehr

    async def ask(self, number: int, *queries: TimeslotQuery, no_cache: bool = False) -> list[Answer]:
        self.ehr.clock += 0.001
        request = self.fleet.gateways[number].request(ModelUnitLists(UnitLists.BOTH), no_cache=no_cache)
        try:
            return await request.answer(queries or [DAY_ONE])
        finally:
            request.close()

    async def starts(self, number: int) -> Sequence[str]:
        (answer,) = await self.ask(number)
        assert isinstance(answer, TimeslotList), answer
        return [each.start for each in answer.slots]

    def book(self, number: int, slot: TrueSlot) -> None:
        self.ehr.slots = [each for each in self.ehr.slots if each is not slot]
        self.ehr.clock += 0.001
        window = Window(slot.start, slot.start + timedelta(minutes=20))
        self.fleet.gateways[number].calls.overwrite(Step(UNIT, window, slot.resource, None), TimeslotList())
        self.ehr.clock += 0.001

    def free(self, number: int, slot: TrueSlot) -> None:
        self.ehr.slots = sorted([*self.ehr.slots, slot], key=lambda each: each.start)
        self.ehr.clock += 0.001
        window = Window(slot.start, slot.start + timedelta(minutes=20))
        self.fleet.gateways[number].calls.forget(UNIT, window)
        self.ehr.clock += 0.001


@asynccontextmanager
async def fleet_of(count: int, store: Store) -> AsyncIterator[Fleets]:
    ehr = HeldEhr()
    fleet = Fleet(count, store.socket, ehr, lambda: Profiles([PROFILE]), KEPT, lambda: ehr.clock)
    await fleet.start()
    try:
        yield Fleets(fleet, ehr)
    finally:
        await fleet.stop()


def texts(slots: Sequence[TrueSlot]) -> Sequence[str]:
    return [each.start.isoformat() for each in slots]


@pytest.mark.anyio
async def test_a_booking_that_a_lost_log_told_of_is_not_undone_by_what_a_gateway_remembers(store: Store) -> None:
    async with fleet_of(2, store) as gateways:
        assert await gateways.starts(1) == texts(SLOTS)
        await gateways.fleet.settle()
        gateways.fleet.cut(1)
        gateways.book(0, SLOTS[1])
        await gateways.fleet.settle()
        store.command("FLUSHALL")
        await gateways.fleet.mend(1)

        assert await gateways.starts(1) == texts([SLOTS[0], *SLOTS[2:]])


@pytest.mark.anyio
async def test_a_booking_heard_of_late_takes_nothing_from_what_was_asked_after_it(store: Store) -> None:
    async with fleet_of(2, store) as gateways:
        gateways.fleet.cut(1)
        gateways.book(0, SLOTS[1])
        gateways.free(0, SLOTS[1])
        gateways.ehr.clock += 1
        assert await gateways.starts(1) == texts(SLOTS)
        calls = len(gateways.ehr.calls)
        await gateways.fleet.mend(1)

        assert await gateways.starts(1) == texts(SLOTS)
        assert len(gateways.ehr.calls) <= calls + 1


@pytest.mark.anyio
async def test_what_was_asked_alone_is_kept_when_the_store_is_back(store: Store) -> None:
    async with fleet_of(2, store) as gateways:
        await gateways.starts(0)
        gateways.fleet.cut(1)
        gateways.ehr.slots = SLOTS[1:]
        await gateways.ask(1, no_cache=True)
        calls = len(gateways.ehr.calls)
        await gateways.fleet.mend(1)

        assert await gateways.starts(1) == texts(SLOTS[1:])
        assert len(gateways.ehr.calls) == calls
        assert await gateways.starts(0) == texts(SLOTS[1:])


@pytest.mark.anyio
async def test_a_message_that_nobody_with_the_secret_wrote_keeps_no_gateway_from_what_follows(store: Store) -> None:
    async with fleet_of(2, store) as gateways:
        gateways.ehr.holds = True
        first = asyncio.create_task(gateways.ask(0))
        await until(lambda: bool(gateways.ehr.held))
        second = asyncio.create_task(gateways.ask(1))
        await gateways.fleet.settle()
        name = gateways.fleet.logs[0].sealing.name("timeslots", *UNIT)
        for text in ("0-0|99999999999999-0", "99999999999999-1|99999999999999-2", "88|99999999999999-3"):
            store.command("PUBLISH", "leyr-gateway:events", f"{name}|{text}|forged")
        await gateways.fleet.settle()
        gateways.ehr.holds = False
        gateways.ehr.let()
        async with asyncio.timeout(10):
            await asyncio.gather(first, second)
        gateways.book(0, SLOTS[1])
        await gateways.fleet.settle()

        assert await gateways.starts(1) == texts([SLOTS[0], *SLOTS[2:]])


@pytest.mark.anyio
async def test_calls_of_a_request_that_gives_up_while_it_claims_them_are_waited_for_by_nobody(store: Store) -> None:
    async with fleet_of(2, store) as gateways:
        gateways.ehr.holds = True
        asked = asyncio.create_task(gateways.ask(0))
        name = gateways.fleet.logs[0].sealing.name("timeslots", *UNIT)
        while store.command("EXISTS", f"leyr-gateway:log:{name}") == b":0\r\n":  # noqa: ASYNC110 # the server tells nobody
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])
        assert not gateways.ehr.calls
        await gateways.fleet.settle()
        gateways.ehr.holds = False
        # Leases of the fleet last a minute.
        async with asyncio.timeout(10):
            assert await gateways.starts(1) == texts(SLOTS)


@pytest.mark.anyio
async def test_a_call_that_is_cancelled_before_it_begins_holds_no_lease(store: Store) -> None:
    async with fleet_of(2, store) as gateways:
        calls, step = gateways.fleet.gateways[0].calls, Step(UNIT, DAY_ONE.window)
        claims = await calls.claim(UNIT, [step], object())
        assert claims
        calls.start(step, asyncio.Semaphore(8), object(), lambda _: None, claims[step]).release()
        await gateways.fleet.settle()

        assert not gateways.fleet.leases[0].held
        assert await gateways.starts(1) == texts(SLOTS)


@pytest.mark.anyio
async def test_of_those_that_waited_for_a_call_that_failed_one_calls_for_all(store: Store) -> None:
    async with fleet_of(4, store) as gateways:
        gateways.ehr.holds = True
        asked = [asyncio.create_task(gateways.ask(number)) for number in range(4)]
        await until(lambda: bool(gateways.ehr.held))
        await gateways.fleet.settle()
        gateways.ehr.let(UpstreamUnavailable("down"))
        await until(lambda: bool(gateways.ehr.held))
        await gateways.fleet.settle()
        gateways.ehr.let()
        answers = [(await each)[0] for each in asked]

        assert sum(isinstance(each, UpstreamUnavailable) for each in answers) == 1
        assert len(gateways.ehr.calls) == 2


@pytest.mark.anyio
async def test_requests_that_the_store_leaves_while_they_claim_share_their_calls(store: Store) -> None:
    async with fleet_of(1, store) as gateways:
        gateways.ehr.holds = True
        await gateways.fleet.gateways[0].calls.catch_up(UNIT)
        windows = [query(0, days) for days in (4, 3, 2, 1)]
        store.signal(signal.SIGSTOP)
        asked = [asyncio.create_task(gateways.ask(0, each)) for each in windows]
        for _ in range(40):
            await asyncio.sleep(0)
        gateways.fleet.cut(0)
        store.signal(signal.SIGCONT)
        await until(lambda: bool(gateways.ehr.held))
        gateways.ehr.holds = False
        gateways.ehr.let()
        await asyncio.gather(*asked)

        assert len(gateways.ehr.calls) == 1


@pytest.mark.anyio
async def test_calls_of_others_that_nobody_looks_at_are_few_and_keep_few_answers(store: Store) -> None:
    async with fleet_of(2, store) as gateways:
        first, second = gateways.fleet.gateways
        await second.calls.catch_up(UNIT)
        held = await first.calls.claim(UNIT, [Step(UNIT, query(0, 30).window)], object())
        await gateways.fleet.settle()
        for _ in range(150):
            await gateways.ask(1, no_cache=True)
        (remote,) = second.calls._reads[UNIT]  # noqa: SLF001 # nothing else shows what is kept
        assert len(remote.newer) <= 101
        first.calls.give_back((held or {}).values())


@pytest.mark.anyio
async def test_what_a_gateway_remembers_takes_no_command(store: Store) -> None:
    async with fleet_of(2, store) as gateways:
        for number in (0, 1):
            await gateways.starts(number)
            await gateways.fleet.settle()
        answers = gateways.fleet.answers
        for number in (0, 1, 0, 1):
            assert await gateways.starts(number) == texts(SLOTS)
        await asyncio.sleep(0.05)

        assert gateways.fleet.answers == answers
        assert len(gateways.ehr.calls) == 1


@pytest.mark.anyio
async def test_an_age_is_that_of_the_ehrs_answer_whichever_gateway_shows_it_and_in_the_end_it_is_asked_anew(
    store: Store,
) -> None:
    async with fleet_of(3, store) as gateways:
        await gateways.starts(0)
        answered_at = gateways.ehr.clock
        for number, seconds, calls in ((1, 14.0, 1), (2, 15.0, 2), (1, 31.0, 3)):
            await gateways.fleet.settle()
            gateways.ehr.clock += seconds
            asked_at = gateways.ehr.clock
            request = gateways.fleet.gateways[number].request(ModelUnitLists(UnitLists.BOTH))
            await request.answer([DAY_ONE])
            # Each gateway's clock is ahead of the EHR's by its own time.
            as_of = request.scope.timeslots_as_of - 100.0 * number
            request.close()
            await gateways.fleet.settle()

            assert as_of == pytest.approx(answered_at if calls < 3 else gateways.ehr.clock, abs=1e-5)
            assert asked_at - as_of < 30
            assert len(gateways.ehr.calls) == calls
