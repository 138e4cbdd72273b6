"""The limits of active requests and of unsent bytes: whoever is alone has all, and what is full is shared."""

from collections import Counter
from collections.abc import Hashable
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.rate_limit import Limit
from gateway.domain.errors import Overloaded
from gateway.fetch.fetch_scope import FetchScope
from gateway.http.concurrency_limit import ConcurrencyLimit, RequestPermit, UnsentBytes


class Requests:
    """Requests that wait for EHRs, until they are told to finish."""

    def __init__(self, limit: int) -> None:
        self.limit = ConcurrencyLimit(limit)
        self.inside: list[tuple[RequestPermit, ExitStack]] = []

    def begin(self, caller: Hashable, *emrs: str) -> RequestPermit:
        """Raises Overloaded, also where the request may not wait."""
        permit, stack = self.limit.permit(caller), ExitStack()
        permit.scope = FetchScope(0.0, on_ehr=permit.wait_for)
        stack.enter_context(permit)
        for emr in emrs:
            permit.scope.on_ehr(emr)
        self.inside.append((permit, stack))
        self._leave_if_revoked()
        if permit.refusal is not None:
            raise Overloaded("it may not wait")
        return permit

    def is_admitted(self, caller: Hashable, *emrs: str) -> bool:
        try:
            self.begin(caller, *emrs)
        except Overloaded:
            return False
        return True

    def finish(self, number: int) -> None:
        self.inside.pop(number % len(self.inside))[1].close()

    def held(self) -> Counter[Hashable]:
        return Counter(permit.caller for permit, _ in self.inside)

    def _leave_if_revoked(self) -> None:
        # What a permit's scope waits for fails in this moment, and its request ends.
        for each in [each for each in self.inside if each[0].refusal is not None]:
            self.inside.remove(each)
            each[1].close()


def test_a_request_beyond_the_limit_is_rejected_as_overloaded() -> None:
    limit = ConcurrencyLimit(2)

    with limit.permit("a"), limit.permit("a"):
        with pytest.raises(Overloaded) as refused, limit.permit("a"):
            pytest.fail("one too many")
        assert limit.active == 2

    assert limit.active == 0
    assert refused.value.retryable
    assert refused.value.retry_after == 1
    assert refused.value.code == "OVERLOADED"
    assert limit.reached == {Limit.REQUESTS_OF_CALLER: 1}


@pytest.mark.parametrize("failure", [ValueError(), KeyboardInterrupt(), GeneratorExit()])
def test_a_request_that_fails_is_no_longer_counted(failure: BaseException) -> None:
    limit, unsent = ConcurrencyLimit(1), UnsentBytes()

    with pytest.raises(type(failure)), limit.permit("a"), unsent.sending("a", object(), 10):
        raise failure

    assert (limit.active, unsent.total) == (0, 0)
    with limit.permit("b"):
        assert limit.active == 1


def test_a_lone_caller_of_a_lone_ehr_has_every_permit() -> None:
    requests = Requests(20)

    assert [requests.is_admitted("a", "slow") for _ in range(25)] == [True] * 20 + [False] * 5


def test_another_caller_gets_in_while_one_floods_a_slow_ehr() -> None:
    requests = Requests(20)
    for _ in range(100):
        requests.is_admitted("loud", "slow")

    # Each time it has less than its part, of the same EHR and of another.
    assert all(requests.is_admitted("quiet", emr) for emr in ("well", "slow") * 5)

    assert requests.held() == {"loud": 10, "quiet": 10}
    assert not requests.is_admitted("quiet", "slow")
    assert requests.limit.reached == {Limit.REQUESTS_OF_EHR: 80 + 1, Limit.REQUESTS_OF_CALLER: 10}


def test_a_caller_of_two_ehrs_gets_in_with_the_well_one_while_it_floods_the_slow_one() -> None:
    requests = Requests(20)
    for _ in range(40):
        requests.is_admitted("only", "slow")

    assert [requests.is_admitted("only", "well") for _ in range(12)] == [True] * 10 + [False] * 2


def test_callers_of_a_well_ehr_get_in_while_many_callers_fill_a_slow_one() -> None:
    requests = Requests(20)
    for number in range(40):
        requests.is_admitted(number, "slow")

    assert [requests.is_admitted(f"new {number}", "well") for number in range(12)] == [True] * 10 + [False] * 2
    assert not requests.is_admitted("newer", "slow")
    assert requests.limit.reached[Limit.REQUESTS_OF_EHR] >= 10


def test_a_request_that_does_not_wait_takes_nobodys_permit() -> None:
    requests = Requests(5)
    first = [requests.begin("loud", "slow") for _ in range(5)]

    for _ in range(10):
        with requests.limit.permit("quiet"):
            assert (requests.limit.active, requests.limit.guests) == (5, 1)

    assert [permit.refusal for permit in first] == [None] * 5
    assert (requests.limit.active, requests.limit.guests) == (5, 0)


def test_the_newest_request_of_the_caller_with_the_most_gives_up_its_permit() -> None:
    requests = Requests(3)
    permits = [requests.begin("loud", "slow") for _ in range(3)]
    scopes = [permit.scope for permit in permits]

    requests.begin("quiet", "well")

    assert [permit.refusal for permit in permits] == [None, None, Limit.REQUESTS_OF_CALLER]
    assert scopes[2] is not None
    with pytest.raises(Overloaded, match="you have the most") as refused:
        scopes[2].count_calls()
    assert refused.value.retry_after == 1
    assert not scopes[2].may_refresh()


def test_guests_are_few() -> None:
    limit = ConcurrencyLimit(16)
    for _ in range(16):
        limit.permit("loud").__enter__()

    with limit.permit("a"), limit.permit("b"), pytest.raises(Overloaded), limit.permit("c"):
        pytest.fail("one guest too many")
    with limit.permit("c"):
        assert limit.guests == 1


def test_a_guest_gets_a_permit_that_became_free_meanwhile() -> None:
    requests = Requests(2)
    first = [requests.begin("loud", "slow") for _ in range(2)]
    guest = requests.limit.permit("quiet")

    with guest:
        requests.finish(0)
        guest.wait_for("slow")
        assert (requests.limit.active, requests.limit.guests, guest.is_guest) == (2, 0, False)
    assert [permit.refusal for permit in first] == [None, None]
    assert requests.limit.active == 1


events = st.lists(
    st.tuples(st.sampled_from("aaabcdef"), st.lists(st.sampled_from("xxyz"), max_size=3), st.integers(0, 9)),
    max_size=80,
)


@given(st.integers(1, 9), events)
def test_a_caller_below_its_part_is_never_rejected_whatever_others_hold(
    most: int, asked: list[tuple[str, list[str], int]]
) -> None:
    requests = Requests(most)
    for caller, emrs, ends in asked:
        held = requests.held()
        before = held.total()
        part = most // len({caller, *held})
        # Each waits for some EHR, or it would be answered by now.
        is_admitted = requests.is_admitted(caller, "x", *emrs)

        assert is_admitted or held[caller] >= part
        assert is_admitted or before == most
        assert requests.limit.active == len(requests.inside) <= most
        assert requests.limit.guests == 0
        if is_admitted and held[caller] + 1 > part:
            # It was free, or it came for an EHR with fewer waiting, in place of its own or of one with more.
            assert before < most or requests.held()[caller] in {held[caller], held[caller] + 1}
        if ends == 0 and requests.inside:
            requests.finish(ends)
    while requests.inside:
        requests.finish(0)
    assert requests.limit.active == 0
    assert requests.is_admitted("a", "x")


@given(st.integers(1, 6), events)
def test_an_ehr_with_fewer_waiting_gets_in_beside_one_with_more(
    most: int, asked: list[tuple[str, list[str], int]]
) -> None:
    requests = Requests(most)
    for number, (_, emrs, _) in enumerate(asked):
        emr = emrs[0] if emrs else "x"
        waiting = Counter(permit.ehrs[0] for permit, _ in requests.inside)
        part = most // len({emr, *waiting})

        assert requests.is_admitted(number, emr) or waiting[emr] >= part


def sending(unsent: UnsentBytes, stack: ExitStack, caller: str, size: int, response: object = None) -> bool:
    try:
        stack.enter_context(unsent.sending(caller, response or [], size))
    except Overloaded:
        return False
    return True


def test_a_caller_may_have_half_of_what_is_unsent_and_the_next_half_of_the_rest() -> None:
    unsent, responses = UnsentBytes(100), [[number] for number in range(30)]
    with ExitStack() as stack:
        assert [sending(unsent, stack, "a", 10, each) for each in responses[:6]] == [True] * 5 + [False]
        assert [sending(unsent, stack, "b", 10, each) for each in responses[6:10]] == [True] * 2 + [False] * 2
        assert sending(unsent, stack, "c", 10, responses[10])
        assert unsent.total == 80
        with pytest.raises(Overloaded, match="is not read yet"):
            unsent.check("a")
        unsent.check("d")

    assert unsent.total == 0
    assert unsent.reached == {Limit.UNSENT_BYTES: 4}


def test_a_connection_may_have_half_of_what_its_caller_has_left() -> None:
    unsent = UnsentBytes(100)

    with unsent.sending("a", object(), 20):
        with pytest.raises(Overloaded), unsent.sending("a", object(), 31):
            pytest.fail("its other clients would get nothing")
        with unsent.sending("a", object(), 30):
            assert unsent.total == 50
        with unsent.sending("b", object(), 40):
            assert unsent.total == 60


def test_a_response_of_any_size_is_sent_where_nothing_else_is() -> None:
    unsent = UnsentBytes(100)

    with unsent.sending("a", object(), 1_000):
        assert unsent.total == 1_000
        with pytest.raises(Overloaded), unsent.sending("b", object(), 1):
            pytest.fail("no memory is left")
        # Small ones are not counted, and get in.
        unsent.check("b")
    with unsent.sending("b", object(), 1):
        assert unsent.total == 1


def test_a_response_that_many_are_sent_counts_once() -> None:
    unsent, kept, later = UnsentBytes(100), object(), [object() for _ in range(3)]

    with ExitStack() as stack:
        assert all(sending(unsent, stack, caller, size, kept) for caller in "aabbcc" for size in (20, 25))
        assert unsent.total == 20
        assert sending(unsent, stack, "a", 30, later[0])
        assert not sending(unsent, stack, "a", 10, later[1])

    assert unsent.total == 0
    with unsent.sending("d", object(), 50), unsent.sending("a", object(), 25):
        assert unsent.total == 75


sends = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 60), st.integers(0, 3)), max_size=60)


@given(sends)
def test_what_is_unsent_is_bounded_and_nobody_is_refused_half_of_what_it_has_left(
    asked: list[tuple[str, int, int]],
) -> None:
    unsent, inside = UnsentBytes(100), list[ExitStack]()
    held: list[tuple[str, int]] = []
    for caller, size, ends in asked:
        free, stack, of_caller = 100 - unsent.total, ExitStack(), sum(each for who, each in held if who == caller)
        if sending(unsent, stack, caller, size, object()):
            inside.append(stack)
            held.append((caller, size))
            assert unsent.total <= max(100, size)
        else:
            assert 2 * size > free - of_caller
        assert unsent.total == sum(each for _, each in held)
        if ends == 0 and inside:
            inside.pop(0).close()
            held.pop(0)
    for stack in inside:
        stack.close()
    assert unsent.total == 0
