"""The media type that an Accept header prefers."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.http.negotiation import MediaType, preferred_media_type

JSON, GRAPHQL, HTML = MediaType.JSON, MediaType.GRAPHQL_RESPONSE, MediaType.HTML
ANSWERS = (JSON, GRAPHQL)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        # Whoever says nothing takes anything.
        (None, JSON),
        ("", JSON),
        ("  ", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        ("application/graphql-response+json", GRAPHQL),
        ("APPLICATION/GraphQL-Response+JSON", GRAPHQL),
        ("application/json; charset=utf-8", JSON),
        ("application/graphql-response+json;charset=utf-8;q=0.5", GRAPHQL),
        # Of equals, the first that is offered.
        ("application/graphql-response+json, application/json", JSON),
        # Weights.
        ("application/graphql-response+json, application/json;q=0.9", GRAPHQL),
        ("application/json;q=0.1, application/graphql-response+json;q=0.2", GRAPHQL),
        ("application/json ; q=0.1 , application/graphql-response+json ; Q=0.2", GRAPHQL),
        ("application/json;q=0", None),
        ("application/json;q=0.000", None),
        ("*/*;q=0", None),
        # The closest range decides on a type, whatever the order and the weight.
        ("application/json;q=0, */*", GRAPHQL),
        ("*/*, application/json;q=0", GRAPHQL),
        ("application/*;q=0, */*", None),
        ("application/*;q=0.2, application/graphql-response+json;q=0.1", JSON),
        ("*/*;q=1, application/*;q=0.1, application/graphql-response+json;q=0.5", GRAPHQL),
        # Nothing that is offered.
        ("text/html", None),
        ("text/*", None),
        ("image/png, text/plain", None),
        # Junk accepts nothing, and does not hide what stands beside it.
        ("junk", None),
        (",", None),
        (";;q=1", None),
        ("application/json;q=junk", None),
        ("application/json;q=", None),
        ("application/json;q=-1", None),
        ("application/json;q=2", JSON),
        ("application/json;q=nan, application/graphql-response+json", GRAPHQL),
        ("application", None),
        ("junk, ,;, application/graphql-response+json", GRAPHQL),
    ],
)
def test_media_type_of_an_api_client_follows_its_accept_header(accept: str | None, expected: MediaType | None) -> None:
    assert preferred_media_type(accept, ANSWERS) is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (BROWSER, HTML),
        ("text/html", HTML),
        ("text/html;q=0.5, application/json", JSON),
        ("text/*, application/json;q=0.9", HTML),
        ("*/*", JSON),
        ("*", JSON),
        ("text/html, *;q=0.2", HTML),
        (None, JSON),
    ],
)
def test_media_type_of_a_browser_is_html_if_offered(accept: str | None, expected: MediaType) -> None:
    assert preferred_media_type(accept, (*ANSWERS, HTML)) is expected


@settings(max_examples=200, deadline=None)  # how long an example takes says nothing on a shared machine
@given(st.text(), st.permutations([JSON, GRAPHQL, HTML]).map(tuple))
@example("application/json;q=1e999", (JSON,))
def test_any_accept_header_leads_to_an_offered_type_or_none(accept: str, offered: tuple[MediaType, ...]) -> None:
    assert preferred_media_type(accept, offered) in {None, *offered}


weights = st.dictionaries(st.sampled_from([JSON, GRAPHQL, HTML]), st.integers(0, 10), min_size=1)


@settings(max_examples=200, deadline=None)  # as above
@given(weights, st.permutations([JSON, GRAPHQL, HTML]).map(tuple))
def test_the_chosen_media_type_has_the_highest_weight(
    liking: dict[MediaType, int], offered: tuple[MediaType, ...]
) -> None:
    accept = ", ".join(f"{media_type};q={weight / 10}" for media_type, weight in liking.items())

    chosen = preferred_media_type(accept, offered)

    best = max(liking.values())
    assert liking[chosen] == best if chosen else best == 0
