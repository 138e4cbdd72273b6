"""The law of order over gateways that share a store, while calls fail, requests give up, and what is shared is lost."""

from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from gateway.domain.errors import NotFound, UpstreamUnavailable
from gateway.domain.queries import TimeslotQuery
from gateway.domain.timeslots import TimeslotList
from tests.integration.shared_store.test_fleet_order import FleetInAnyOrder
from tests.stores import Store, running_store
from tests.unit.asking import Answer
from tests.unit.fetch.test_read_order import Asked

_MOST_ROUNDS = 60
any_number = st.integers(0, 20)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with running_store() as running:
        yield running


class FleetUnderFaults(FleetInAnyOrder):
    """What a gateway shows while it is cut off is nobody's matter; when it is back it keeps the law again."""

    def __init__(self) -> None:
        super().__init__()
        self.store.command("FLUSHALL")
        self.cut_off: set[int] = set()
        self.abandoned: list[Asked] = []

    def begin_request(self, asked: list[TimeslotQuery], *, no_cache: bool) -> Asked:
        while (self.chosen + 1) % len(self.fleet.gateways) in self.cut_off:
            self.chosen += 1
        return super().begin_request(asked, no_cache=no_cache)

    @rule(number=st.integers(0, 3))
    def choose(self, number: int) -> None:
        if number % len(self.fleet.gateways) not in self.cut_off:
            super().choose(number)

    @precondition(lambda self: hasattr(self, "fleet") and self.ehr.arrived)
    @rule(numbers=st.lists(any_number, min_size=1, max_size=4))
    def land(self, numbers: list[int]) -> None:
        for number in numbers:
            self.ehr.arrived = [each for each in self.ehr.arrived if not each.landing.done()]
            if self.ehr.arrived:
                self.ehr.arrived.pop(number % len(self.ehr.arrived)).landing.set_result(None)
                self.turn()

    @precondition(lambda self: hasattr(self, "fleet") and self.ehr.arrived)
    @rule(number=any_number, is_unknown=st.sampled_from([False, False, True]))
    def fail(self, number: int, is_unknown: bool) -> None:
        arrived = self.ehr.arrived.pop(number % len(self.ehr.arrived))
        if not arrived.landing.done():
            arrived.landing.set_exception(NotFound("unknown") if is_unknown else UpstreamUnavailable("down"))
        self.turn()

    @precondition(lambda self: hasattr(self, "fleet") and self.under_way)
    @rule(number=any_number)
    def give_up(self, number: int) -> None:
        """A client leaves, or its time is over."""
        left = self.under_way.pop(number % len(self.under_way))
        left.answers.cancel()
        self.turn()
        left.request.close()
        self.turn()

    @rule()
    def lose_all(self) -> None:
        """What is shared is lost, and with it all leases."""
        self.store.command("FLUSHALL")
        self.turn()

    @rule(number=any_number, kind=st.sampled_from(["value", "log", "lease"]), is_kept=st.booleans())
    def spoil(self, number: int, kind: str, is_kept: bool) -> None:
        """Something is evicted, or somebody writes over it."""
        names = self.names(kind)
        if names:
            name = names[number % len(names)]
            if not is_kept or kind == "lease":
                self.store.command("DEL", name)
            elif kind == "log":
                self.store.command("XADD", name, "*", "e", "forged")
            else:
                self.store.command("SET", name, "forged", "PX", "1000")
            self.turn()

    def names(self, kind: str) -> list[str]:
        """The names of the server's keys of a kind."""
        found = self.store.command("KEYS", f"*:{kind}:*").decode().split("\r\n")
        return sorted(each for each in found if ":" in each)

    @precondition(lambda self: hasattr(self, "fleet") and len(self.fleet.gateways) - len(self.cut_off) > 1)
    @rule()
    def cut(self) -> None:
        """The chosen gateway loses the store, and everybody else takes over what it began."""
        self.fleet.cut(self.chosen)
        self.cut_off.add(self.chosen)
        gateway = self.fleet.gateways[self.chosen]
        for each in [each for each in self.under_way if each.request.calls is gateway.calls]:
            self.under_way.remove(each)
            self.abandoned.append(each)
        lasting = {
            lease for number, each in enumerate(self.fleet.leases) if number not in self.cut_off for lease in each.held
        }
        for name in self.names("lease"):
            if name.rpartition(":")[2] not in lasting:
                self.store.command("DEL", name)
        self.choose(next(each for each in range(len(self.fleet.gateways)) if each not in self.cut_off))
        self.turn()

    @precondition(lambda self: self.cut_off)
    @rule()
    def mend(self) -> None:
        number = self.cut_off.pop()
        self.loop.run_until_complete(self.fleet.mend(number))

    def see(self, asked: TimeslotQuery, answer: Answer) -> None:
        if isinstance(answer, TimeslotList):
            super().see(asked, answer)

    def teardown(self) -> None:
        if hasattr(self, "fleet"):
            for number in list(self.cut_off):
                self.loop.run_until_complete(self.fleet.mend(number))
            for _ in range(_MOST_ROUNDS):
                arrived, self.ehr.arrived = self.ehr.arrived, []
                for call in arrived:
                    if not call.landing.done():
                        call.landing.set_result(None)
                self.turn()
                if all(each.answers.done() for each in (*self.under_way, *self.abandoned)):
                    break
            assert all(each.answers.done() for each in (*self.under_way, *self.abandoned)), "a request waits for ever"
            for asked in self.abandoned:
                asked.request.close()
        super().teardown()
        if hasattr(self, "fleet"):
            assert not [each for each in self.fleet.leases if each.held], "a call is held for ever"


def test_gateways_of_a_fleet_keep_the_law_of_order_whatever_fails(store: Store) -> None:
    FleetUnderFaults.store = store
    run_state_machine_as_test(
        FleetUnderFaults,
        settings=settings(max_examples=30, stateful_step_count=30, deadline=None, phases=(Phase.generate,)),
    )
