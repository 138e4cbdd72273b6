"""The law of shared lists: whatever is asked, of whichever gateway, is as true as from one, in as few calls."""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal, TypeAlias

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import UpstreamUnavailable
from gateway.domain.models import CareUnitKey, Resource
from gateway.fetch.cache_budget import CacheBudget, CacheConfig, Lifetimes
from gateway.fetch.catalog import Catalog
from gateway.fetch.fetch_scope import CacheStatus
from tests.integration.shared_store.catalogues import Answer, Fleet, ask, cached
from tests.stores import Store, until
from tests.unit.model_ehr import ModelEhr

# As long as no list gets old, calls can be counted; the others get old while a test runs.
LASTING = Lifetimes(1_000, 1_000)
LIFETIMES = [LASTING, LASTING, Lifetimes(0.05, 0.1), Lifetimes(0.05, 1_000)]
_TURN_SECONDS = 0.015

Step: TypeAlias = tuple[Literal["ask", "no-cache", "land", "fail", "leave", "change"], int]


@dataclass(eq=False)
class Call:
    """A call that has come to the clinic, and waits for its answer."""

    gateway: int
    version: int
    answered: "asyncio.Future[None]"


@dataclass(eq=False)
class Clinic:
    """What all gateways ask: its list has a version, and each call brings that of its beginning."""

    changed_at: list[float] = field(default_factory=lambda: [monotonic()])
    pending: list[Call] = field(default_factory=list)
    calls: int = 0
    failed: list[int] = field(default_factory=list)
    """The gateways of the calls that brought nothing."""

    @property
    def version(self) -> int:
        return len(self.changed_at) - 1

    def change(self) -> None:
        self.changed_at.append(monotonic())

    def version_at(self, seconds: float) -> int:
        """The version that the list had then."""
        return bisect_right(self.changed_at, seconds) - 1

    def end(self, error: Exception | None = None) -> None:
        """Answer the call that came first."""
        if self.pending:
            answered = self.pending.pop(0).answered
            answered.set_result(None) if error is None else answered.set_exception(error)

    async def call(self, gateway: int) -> Sequence[Resource]:
        call = Call(gateway, self.version, asyncio.get_running_loop().create_future())
        self.calls += 1
        self.pending.append(call)
        try:
            await call.answered
        except BaseException:
            self.failed.append(gateway)
            raise
        finally:
            if call in self.pending:
                self.pending.remove(call)
        return [Resource(str(call.version))]


class Seen(ModelEhr):
    """The clinic as one gateway sees it."""

    def __init__(self, clinic: Clinic, number: int) -> None:
        super().__init__([], EhrProfile("model", "Model"))
        self._clinic, self._number = clinic, number

    async def resources(self, care_unit: CareUnitKey) -> Sequence[Resource]:  # noqa: ARG002 # there is one
        return await self._clinic.call(self._number)


@dataclass(eq=False)
class Request:
    gateway: int
    began: float
    is_no_cache: bool
    task: "asyncio.Task[Answer]"


class World:
    """One gateway or several, and what was asked of them."""

    def __init__(self, clinic: Clinic, catalogs: Sequence[Catalog], lifetimes: Lifetimes) -> None:
        self.clinic = clinic
        self.catalogs = catalogs
        self.lifetimes = lifetimes
        self.requests: list[Request] = []

    def do(self, what: str, number: int) -> None:
        if what in ("ask", "no-cache"):
            gateway = number % len(self.catalogs)
            began = monotonic()
            task = asyncio.create_task(ask(self.catalogs[gateway], no_cache=what == "no-cache"))
            self.requests.append(Request(gateway, began, what == "no-cache", task))
        elif what == "land":
            self.clinic.end()
        elif what == "fail":
            self.clinic.end(UpstreamUnavailable("sick"))
        elif what == "leave" and self.requests:
            self.requests[number % len(self.requests)].task.cancel()
        elif what == "change":
            self.clinic.change()

    async def end(self) -> None:
        """Answer everything, and check it."""
        async with asyncio.timeout(20):
            while not all(each.task.done() for each in self.requests) or self.clinic.pending:
                self.clinic.end()
                await asyncio.sleep(0.001)
        for each in self.requests:
            if not each.task.cancelled():
                self._check(each)

    def _check(self, request: Request) -> None:
        error = request.task.exception()
        if error is not None:
            assert isinstance(error, UpstreamUnavailable)
            assert request.gateway in self.clinic.failed
            return
        answer = request.task.result()
        # No younger than it says: what it shows was true then, or after.
        assert int(answer.names[0]) >= self.clinic.version_at(answer.fetched_at)
        if request.is_no_cache:
            assert answer.fetched_at >= request.began
            assert answer.origin in (CacheStatus.FETCHED, CacheStatus.SHARED, CacheStatus.JOINED)
        assert request.began - answer.fetched_at < self.lifetimes.served


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "no-cache", "land", "land", "fail", "leave", "change"]),
        st.integers(0, 11),
    ),
    max_size=14,
)


@settings(max_examples=60, phases=[Phase.explicit, Phase.generate])
@given(count=st.integers(1, 4), lifetimes=st.sampled_from(LIFETIMES), steps=STEPS)
def test_lists_are_as_true_as_from_one_gateway_in_no_more_calls_than_one_makes_and_failures(
    server: Store, count: int, lifetimes: Lifetimes, steps: Sequence[Step]
) -> None:
    asyncio.run(compared(server, count, lifetimes, steps))


async def compared(server: Store, count: int, lifetimes: Lifetimes, steps: Sequence[Step]) -> None:
    one = Clinic()
    alone = World(one, [Catalog(Seen(one, 0), CacheConfig(lifetimes, CacheBudget(1_000_000), monotonic))], lifetimes)
    clinic = Clinic()
    async with Fleet(server.socket, seconds=20) as fleet:
        catalogs = [(await fleet.join(Seen(clinic, number), lifetimes)).catalog for number in range(count)]
        several = World(clinic, catalogs, lifetimes)
        for what, number in steps:
            alone.do(what, number)
            several.do(what, number)
            await asyncio.sleep(_TURN_SECONDS)
        await alone.end()
        await several.end()
        if lifetimes is LASTING:
            assert clinic.calls <= one.calls + len(clinic.failed)
            # What the newest call brought comes to all who have an older list.
            await until(lambda: len({tuple(each) for each in map(cached, catalogs) if each is not None}) <= 1, 5)
