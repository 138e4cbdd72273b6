"""When an issuer's keys are fetched, which requests wait for it, and what happens while fetches fail."""

import asyncio
from collections.abc import Awaitable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.jwks import Key, KeySet, KeysUnavailableError
from tests.unit.auth.issuer import NO_ANSWER, Published, Time, key_set, private_key, public_jwk

OLD, NEW = (key_set(public_jwk(private_key("EdDSA", kid), kid)) for kid in ("old", "new"))
MINUTE, DAY = 60.0, 86_400.0


class KeySetUnderTest:
    """A key set with an issuer and a clock that the test controls."""

    def __init__(self, text: bytes = OLD) -> None:
        self.published = Published(text)
        self.time = Time()
        self.reasons: list[str] = []
        self.keys = KeySet(self.published, clock=self.time, on_failed=self.reasons.append)

    async def find(self, kid: str = "old") -> Key | None:
        async with asyncio.timeout(30):
            return await self.keys.find(kid, "EdDSA")

    async def wait(self, wanted: Awaitable[object]) -> float:
        """How long the refusal asks to wait."""
        with pytest.raises(KeysUnavailableError) as refusal:
            await wanted
        assert refusal.value.retryable
        assert refusal.value.retry_after is not None
        return refusal.value.retry_after


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nothing_is_fetched_before_the_first_token() -> None:
    held = KeySetUnderTest()
    await turns()

    assert held.keys.current() is None
    assert held.published.fetches == 0
    assert await held.find() is not None
    assert held.keys.current() is not None
    assert held.published.fetches == 1


async def test_fresh_keys_are_not_fetched_again() -> None:
    held = KeySetUnderTest()
    await held.find()

    held.time.seconds += 10 * MINUTE - 1
    await held.find()
    await turns()

    assert held.published.fetches == 1


async def test_stale_keys_are_used_while_they_are_refreshed() -> None:
    held = KeySetUnderTest()
    await held.find()
    held.published.text = NEW
    held.published.gate.clear()
    held.time.seconds += 10 * MINUTE

    assert await held.find("old") is not None
    assert await held.find("old") is not None
    held.published.gate.set()
    await turns()

    assert held.published.fetches == 2
    assert await held.find("old") is None
    assert await held.find("new") is not None
    assert held.published.fetches == 2


async def test_only_one_fetch_runs_at_a_time() -> None:
    held = KeySetUnderTest()
    await held.find()
    held.published.gate.clear()
    for _ in range(3):
        held.time.seconds += 10 * MINUTE
        assert held.keys.current() is not None
        await turns()

    assert held.published.fetches == 2
    await held.keys.close()


async def test_all_requests_wait_for_one_fetch() -> None:
    held = KeySetUnderTest()
    held.published.gate.clear()
    waiting = [asyncio.ensure_future(held.find()) for _ in range(50)]
    await turns()

    held.published.gate.set()

    assert None not in await asyncio.gather(*waiting)
    assert held.published.fetches == 1


async def test_a_cancelled_request_does_not_cancel_the_fetch_for_others() -> None:
    held = KeySetUnderTest()
    held.published.gate.clear()
    first, second, third = (asyncio.ensure_future(held.find()) for _ in range(3))
    await turns()

    first.cancel()
    third.cancel()
    await turns()
    held.published.gate.set()

    assert await second is not None
    assert first.cancelled()
    assert third.cancelled()
    assert held.published.fetches == 1


async def test_a_fetch_without_waiters_goes_on_and_serves_the_next_request() -> None:
    held = KeySetUnderTest()
    held.published.gate.clear()
    for _ in range(20):
        waiting = asyncio.ensure_future(held.find())
        await turns()
        waiting.cancel()
        await turns()
    held.published.gate.set()
    await turns()

    assert await held.find() is not None
    assert held.published.fetches == 1


async def test_keys_that_cannot_be_fetched_are_unavailable_with_retry_after() -> None:
    held = KeySetUnderTest()
    held.published.failure = NO_ANSWER

    assert await held.wait(held.find()) == 5
    held.time.seconds += 3
    assert await held.wait(held.find()) == 2
    assert held.published.fetches == 1
    assert held.reasons == ["no answer within 5 s"]

    held.published.failure = None
    held.time.seconds += 2
    assert await held.find() is not None
    assert held.published.fetches == 2


async def test_all_waiting_requests_get_the_failure_of_a_fetch() -> None:
    held = KeySetUnderTest()
    held.published.failure = NO_ANSWER
    held.published.gate.clear()
    waiting = [asyncio.ensure_future(held.find()) for _ in range(5)]
    await turns()

    held.published.gate.set()

    for each in waiting:
        assert await held.wait(each) == 5
    assert held.reasons == ["no answer within 5 s"]


async def test_stale_keys_are_used_for_a_day_while_fetches_fail() -> None:
    held = KeySetUnderTest()
    await held.find()
    held.published.failure = NO_ANSWER
    for _ in range(10 * 60):
        held.time.seconds += 2 * MINUTE
        assert await held.find() is not None
        await turns()
    failed = held.published.fetches

    held.time.seconds += 4 * 60 * MINUTE + 10 * MINUTE - 1
    assert await held.find() is not None
    held.time.seconds += 1

    await held.wait(held.find())
    assert failed > 500
    assert len(held.reasons) == held.published.fetches - 1


async def test_failing_fetches_are_thirty_seconds_apart() -> None:
    held = KeySetUnderTest()
    await held.find()
    held.published.failure = NO_ANSWER
    held.time.seconds += 10 * MINUTE
    for _ in range(100):
        held.time.seconds += 1
        await held.find()
        await turns()

    assert held.published.fetches == 1 + 4


async def test_an_unknown_kid_has_the_keys_fetched() -> None:
    held = KeySetUnderTest()
    await held.find()
    held.published.text = NEW
    held.time.seconds += 30

    assert await held.find("new") is not None
    assert await held.find("old") is None
    assert held.published.fetches == 2


async def test_a_key_that_is_newer_than_the_last_fetch_is_found_whatever_others_asked_for() -> None:
    held = KeySetUnderTest()
    await held.find()
    assert await held.find("made up") is None
    held.published.text = NEW
    held.time.seconds += 1

    assert await held.find("new") is not None
    assert held.published.fetches == 3


async def test_a_kid_that_was_looked_for_is_unavailable_for_the_rest_of_thirty_seconds() -> None:
    held = KeySetUnderTest()
    await held.find()
    assert await held.find("new") is None
    held.published.text = NEW
    held.time.seconds += 1

    assert await held.wait(held.find("new")) == 29
    held.time.seconds += 28.5
    assert await held.wait(held.find("new")) == 1
    held.time.seconds += 0.5
    assert await held.find("new") is not None
    assert held.published.fetches == 3


async def test_a_withdrawn_key_is_not_looked_for_until_thirty_seconds_later() -> None:
    held = KeySetUnderTest()
    await held.find()
    held.published.text = NEW
    assert await held.find("new") is not None
    for _ in range(3):
        assert await held.find("old") is None
    assert held.published.fetches == 2

    held.time.seconds += 30
    assert await held.find("old") is None
    assert held.published.fetches == 3


async def test_fetches_for_made_up_kids_are_thirty_seconds_apart_on_average() -> None:
    held = KeySetUnderTest()
    waits = []
    for number in range(300):
        try:
            assert await held.find(f"made up {number}\r\n") is None
        except KeysUnavailableError as refusal:
            waits.append(refusal.retry_after or 0)
        assert await held.find() is not None
        await turns()
        held.time.seconds += 1

    assert held.published.fetches == 1 + 5 + 9
    assert len(waits) == 300 - (1 + 5 + 9)
    assert min(waits) >= 1
    assert max(waits) <= 30
    assert await held.find("x" * 1_025) is None
    assert held.published.fetches == 1 + 5 + 9


async def test_an_unknown_kid_is_unavailable_while_fetches_fail() -> None:
    held = KeySetUnderTest()
    await held.find()
    held.published.failure = NO_ANSWER
    held.time.seconds += 40

    assert await held.wait(held.find("new")) == 30
    held.time.seconds += 10
    assert await held.wait(held.find("new")) == 20
    assert await held.find("old") is not None
    assert held.published.fetches == 2


async def test_a_key_set_without_usable_keys_revokes_all_and_is_reported() -> None:
    held = KeySetUnderTest()
    await held.find()
    held.published.text = key_set({"kty": "oct", "k": "c2VjcmV0"})
    held.time.seconds += 10 * MINUTE
    await held.find()
    await turns()

    assert await held.find() is None
    assert held.reasons == ["it holds no key for RS256, ES256, EdDSA"]


async def test_an_invalid_key_set_leaves_the_keys_unchanged() -> None:
    held = KeySetUnderTest()
    await held.find()
    held.published.text = b"<html>canary</html>"
    held.time.seconds += 10 * MINUTE
    await held.find()
    await turns()

    assert await held.find() is not None
    assert held.reasons == ["it is not a JSON Web Key Set"]


async def test_closing_cancels_the_fetch_and_closes_the_source() -> None:
    held = KeySetUnderTest()
    held.published.gate.clear()
    waiting = asyncio.ensure_future(held.find())
    await turns()

    await held.keys.close()
    await turns()

    assert held.published.closed
    assert waiting.cancelled()
    assert held.keys.current() is None


moves = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 4.0, 5.0, 29.0, 30.0, 10 * MINUTE, DAY, DAY + 10 * MINUTE]),
        st.sampled_from(["old", "new", "made up"]),
        st.sampled_from([OLD, NEW, b"{}", key_set()]),
        st.booleans(),
    ),
    max_size=40,
)


@given(moves)
def test_any_sequence_keeps_fetches_apart_and_ends_old_keys(steps: list[tuple[float, str, bytes, bool]]) -> None:
    async def run() -> None:
        held = KeySetUnderTest()
        asked: list[float] = []
        vouched: dict[str, float] = {}
        for pause, kid, text, fails in steps:
            held.time.seconds += pause
            held.published.text, held.published.failure = text, NO_ANSWER if fails else None
            before = held.published.fetches
            try:
                found = await held.find(kid)
            except KeysUnavailableError:
                found = None
            await turns()
            if held.published.fetches > before:
                asked += [held.time.seconds]
                if not fails:
                    vouched |= {name: held.time.seconds for name, each in (("old", OLD), ("new", NEW)) if each == text}
            if found is not None:
                assert held.time.seconds - vouched[kid] < DAY + 10 * MINUTE
            assert held.published.fetches <= before + 1
        # Five for unknown kids, one of a refresh, and then some that are apart.
        assert all(later - earlier >= 5 for earlier, later in zip(asked, asked[7:], strict=False))

    asyncio.run(run())


async def test_a_fetch_after_a_fault_of_the_source_succeeds() -> None:
    held = KeySetUnderTest()
    held.published.failure = RuntimeError("a fault")
    with pytest.raises(RuntimeError):
        await held.find()
    held.published.failure = None
    held.time.seconds += 5

    assert await held.find() is not None
