"""The three ends of a shared call's holder: it was answered, its time was over, or its client left."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import DeadlineExceeded, OperationTooLarge
from gateway.domain.queries import Step, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.profiles import Profiles
from gateway.fetch.single_flight import SharedCall
from tests.unit.asking import Gateway, Request
from tests.unit.model_ehr import DAY, START, ModelEhr, ModelUnitLists, TrueSlot, query


class Room:
    """Room for so many calls that nobody waits for."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.detached: list[asyncio.Task[Any]] = []

    def detach(self, task: "asyncio.Task[Any]") -> bool:
        if len(self.detached) >= self.most:
            return False
        self.detached.append(task)
        return True

    def attach(self, task: "asyncio.Task[Any]") -> None:
        self.detached.remove(task)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def hanging() -> SharedCall[str]:
    async def call() -> str:
        await asyncio.Event().wait()
        return "never"

    return SharedCall(call(), 0.0, lambda _: None)


@pytest.mark.parametrize(("room", "goes_on"), [(1, True), (0, False)])
async def test_a_call_whose_last_holder_ran_out_of_time_goes_on_where_there_is_room(room: int, goes_on: bool) -> None:
    shared = hanging()

    shared.release(Room(room))
    await turns()

    assert shared.joinable is goes_on


@pytest.mark.parametrize("overdue_first", [True, False])
async def test_a_call_goes_on_where_one_holder_left_and_another_ran_out_of_time(overdue_first: bool) -> None:
    shared, room = hanging().acquire(), Room(1)

    shared.release(room if overdue_first else None)
    assert room.detached == []
    shared.release(None if overdue_first else room)
    await turns()

    assert shared.joinable
    assert len(room.detached) == 1


async def test_a_call_that_is_joined_again_takes_no_room_until_it_is_left() -> None:
    shared, room = hanging(), Room(1)
    shared.release(room)

    shared.acquire()
    assert room.detached == []
    shared.release()
    await turns()

    assert shared.joinable
    assert len(room.detached) == 1


async def test_a_detached_call_that_is_cancelled_is_not_joined() -> None:
    shared, room = hanging(), Room(1)
    shared.release(room)

    room.detached[0].cancel()

    assert not shared.joinable


@given(ends=st.lists(st.sampled_from(["overdue", "left"]), min_size=1, max_size=8), room=st.integers(0, 1))
def test_a_call_goes_on_if_any_holder_ran_out_of_time_and_ends_otherwise(ends: list[str], room: int) -> None:
    async def scenario() -> None:
        shared, rooms = hanging(), Room(room)
        for _ in ends[1:]:
            shared.acquire()
        for end in ends:
            assert shared.joinable
            shared.release(rooms if end == "overdue" else None)
        await turns()
        assert shared.joinable is ("overdue" in ends and room > 0)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("ends", "goes_on"),
    [
        (["deadline"], True),
        (["left"], False),
        (["too large"], False),
        (["too large", "deadline"], False),
        (["deadline", "too large"], True),
    ],
)
async def test_only_the_deadline_of_a_request_lets_its_calls_go_on(ends: list[str], goes_on: bool) -> None:
    shared, scope = hanging(), FetchScope(0.0, detached=Room(1))
    scope.release_on_close(shared)
    for end in ends:
        if end != "left":
            scope.expire(None if end == "deadline" else lambda: OperationTooLarge("too much"))
    scope.close()
    late = hanging()
    scope.release_on_close(late)
    await turns()

    assert shared.joinable is goes_on
    assert not late.joinable


class SlowEhr(ModelEhr):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__([TrueSlot(START + each * DAY, "r1", "s1") for each in range(9)], EhrProfile("model", "Model"))
        self.answers = asyncio.Event()
        self.begun = 0

    async def timeslots(self, step: Step) -> TimeslotList:
        self.begun += 1
        await self.answers.wait()
        return self.fetch(step)


async def overdue(gateway: Gateway, room: Room, *, no_cache: bool = False) -> Request:
    """A request whose deadline is over before its call is answered."""
    request = gateway.request(ModelUnitLists(UnitLists.NONE), no_cache=no_cache)
    request.scope.detached = room
    waiting = asyncio.create_task(request.answer([query(0, 9)]))
    await turns(6)
    request.scope.expire()
    waiting.cancel()
    request.close()
    await turns()
    return request


@pytest.mark.parametrize("lifetimes", [Lifetimes(15, 15), Lifetimes(0, 0)], ids=["cached", "not cached"])
async def test_timeslots_that_come_too_late_answer_the_next_request_by_one_call(lifetimes: Lifetimes) -> None:
    ehr, room = SlowEhr(), Room(1)
    gateway = Gateway(ehr, Profiles([ehr.profile]), lifetimes)
    await overdue(gateway, room)

    later = gateway.request(ModelUnitLists(UnitLists.NONE))
    joining = asyncio.create_task(later.answer([query(0, 9)]))
    await turns(6)
    ehr.answers.set()

    [answer] = await joining
    assert isinstance(answer, TimeslotList)
    assert len(answer) == 9
    assert ehr.begun == 1
    with pytest.raises(DeadlineExceeded):
        (await overdue(gateway, room)).scope.count_calls()


async def test_a_no_cache_request_makes_a_call_of_its_own_beside_a_detached_one() -> None:
    ehr, room = SlowEhr(), Room(1)
    gateway = Gateway(ehr, Profiles([ehr.profile]), Lifetimes(15, 15))
    await overdue(gateway, room)
    gateway.now += 1

    later = gateway.request(ModelUnitLists(UnitLists.NONE), no_cache=True)
    asking = asyncio.create_task(later.answer([query(0, 9)]))
    await turns(6)
    ehr.answers.set()

    assert await asking
    assert ehr.begun == 2
