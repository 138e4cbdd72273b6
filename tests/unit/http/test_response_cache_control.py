"""Cache-Control, ETag and If-None-Match."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.negotiation import MediaType
from gateway.http.response_cache import GraphQLResponse, cache_headers, is_not_modified
from tests.steps import Steps, run_counted

NOW = 1_000.0


def answer(fresh_until: float | None = NOW + 15, body: bytes = b'{"data":{}}') -> GraphQLResponse:
    return GraphQLResponse(200, MediaType.JSON, [body], fresh_until=fresh_until)


def cache_control(fresh_until: float | None, *, now: float = NOW, shared: bool = True) -> bytes:
    return dict(cache_headers(answer(fresh_until), now, shared=shared))[b"cache-control"]


@pytest.mark.parametrize(
    ("fresh_until", "expected"),
    [
        (NOW + 15, b"public, max-age=15"),
        (NOW + 15.9, b"public, max-age=15"),
        (NOW + 1, b"public, max-age=1"),
        (NOW + 300, b"public, max-age=300"),
        # What needs none of Leyr's data is kept for a while, not forever.
        (NOW + 301, b"public, max-age=300"),
        (float("inf"), b"public, max-age=300"),
        # Less than a second left, caches that are off, and data that were stale when they were served.
        (NOW + 0.9, b"public, no-cache"),
        (NOW, b"public, no-cache"),
        (NOW - 10, b"public, no-cache"),
        (float("-inf"), b"public, no-cache"),
        (None, b"no-store"),
    ],
)
def test_max_age_is_how_long_the_data_are_fresh(fresh_until: float | None, expected: bytes) -> None:
    assert cache_control(fresh_until) == expected


def test_max_age_of_a_cached_response_is_the_remaining_time() -> None:
    assert [cache_control(NOW + 15, now=NOW + passed) for passed in (0, 10, 14.5, 15, 60)] == [
        b"public, max-age=15",
        b"public, max-age=5",
        b"public, no-cache",
        b"public, no-cache",
        b"public, no-cache",
    ]


def test_responses_to_known_callers_are_private() -> None:
    assert cache_control(NOW + 15, shared=False) == b"private, max-age=15"
    assert cache_control(NOW, shared=False) == b"private, no-cache"
    assert cache_control(None, shared=False) == b"no-store"


def test_a_response_with_errors_has_no_etag() -> None:
    headers = cache_headers(answer(None), NOW, shared=True)

    assert [name for name, _ in headers] == [b"cache-control"]


@given(st.binary(), st.lists(st.integers(0, 40)))
def test_an_etag_depends_on_the_bytes_and_not_on_the_pieces(body: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(places)]

    assert GraphQLResponse(200, MediaType.JSON, pieces).etag == answer(body=body).etag
    assert answer(body=body + b" ").etag != answer(body=body).etag


def test_etag_of_a_large_response_is_computed_off_the_event_loop() -> None:
    pieces = [b"%064d" % number for number in range(100_000)]
    response = GraphQLResponse(200, MediaType.JSON, pieces, fresh_until=NOW)

    async def tagged(_: Steps) -> None:
        await response.prepare_etag()
        response.etag  # noqa: B018 # a property that computes it where that is not done yet

    _, steps = run_counted(tagged)

    assert response.etag == GraphQLResponse(200, MediaType.JSON, [b"".join(pieces)]).etag
    assert steps.largest.size < 1_000


OURS = answer().etag.decode()
THEIRS = answer(body=b"other").etag.decode()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (OURS, True),
        # The comparison is weak.
        (OURS.removeprefix("W/"), True),
        (f" {OURS} ", True),
        (f"{THEIRS}, {OURS}", True),
        (f'"a",{OURS.removeprefix("W/")},"b"', True),
        ("*", True),
        (" * ", True),
        (THEIRS, False),
        (f'{THEIRS}, "b"', False),
        ("", False),
        (",", False),
        (OURS.removeprefix("W/").strip('"'), False),
        (OURS.replace("W/", "w/"), False),
        (OURS.upper().replace("W/", "W/"), False),
        ('"*"', False),
        (OURS[:-1] + '-gzip"', True),
        (f'{THEIRS}, {OURS[:-1]}-br"', True),
        (OURS[:-1] + '-zip"', False),
    ],
)
def test_if_none_match_compares_etags_weakly(asked: str, expected: bool) -> None:
    assert is_not_modified(answer(), {b"if-none-match": asked}) is expected


def test_without_if_none_match_a_response_is_modified() -> None:
    assert not is_not_modified(answer(), {})


@pytest.mark.parametrize("asked", ["*", OURS])
def test_a_response_that_must_not_be_cached_is_always_modified(asked: str) -> None:
    assert not is_not_modified(answer(None), {b"if-none-match": asked})


@given(st.text(st.characters(codec="latin-1")))
def test_any_if_none_match_header_is_compared(asked: str) -> None:
    known = is_not_modified(answer(), {b"if-none-match": asked})

    assert known == ("*" in [tag.strip() for tag in asked.split(",")])
