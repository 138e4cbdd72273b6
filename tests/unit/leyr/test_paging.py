"""What may be said of pages, in any words: understood, or refused; and links, which never lead away from Leyr."""

import json
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain.errors import UpstreamInvalidAnswer
from gateway.domain.models import Resource
from gateway.domain.pieces import whole
from gateway.http_client.connection import Response
from gateway.leyr.decoding import ListDecoder
from gateway.leyr.paging import NO_PAGING, Paging, next_target, paging_of

RESOURCES = ListDecoder(Resource, "id", max_items=100)
BASE = "https://leyr.example:8443/v1"
TARGET = "/emrs/pmo/care-units/7/resources?a=1"
words = st.sampled_from(
    [
        "next",
        "links",
        "_links",
        "meta",
        "has_more",
        "nextPageToken",
        "total",
        "totalPages",
        "href",
        "rel",
        "count",
        "page",
    ]
)
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["next", "/v1/x?p=2", "?p=2"])
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


def said(beside: dict[str, Any], headers: dict[str, str] | None = None) -> Paging:
    body = json.dumps({**beside, "data": [{"id": "1"}]}).encode()
    return paging_of(whole(RESOURCES.decode_page(body)), Response(200, headers or {}, body))


@settings(max_examples=300)
@given(
    st.dictionaries(words, values, max_size=4), st.sampled_from(["", "<?p=3>; rel=next", "rel=next", "<a>;rel", "<"])
)
def test_whatever_stands_beside_a_list_is_understood_or_refused(beside: dict[str, Any], link: str) -> None:
    with suppress(UpstreamInvalidAnswer):
        paging = said(beside, {"link": link})

        assert paging.next_link is None or not paging.is_cut_off


def test_nothing_said_of_pages_is_no_paging() -> None:
    assert said({"took": 5, "warnings": [], "meta": {"version": 2}}) is NO_PAGING


@pytest.mark.parametrize(
    "beside",
    [
        {"last": False, "numberOfElements": 1},
        {"more": True},
        {"hasMoreItems": True},
        {"incomplete_results": True},
        {"next_page_number": 2},
        {"next": {"url": "/v1/x?p=2"}},
    ],
)
def test_a_list_that_says_in_other_words_that_it_goes_on_is_cut_off(beside: dict[str, Any]) -> None:
    assert said(beside).is_cut_off


@pytest.mark.parametrize(
    ("beside", "paging"),
    [
        ({"meta": {"pagination": {"total": 50.0, "total_pages": 4}}}, Paging(total=50, pages=4)),
        ({"meta": {"pagination": {"links": {"next": "/v1/x?p=2"}}}}, Paging(next_link="/v1/x?p=2")),
        ({"page": {"total": 50}}, Paging(total=50)),
        ({"page": 1, "lastPage": 3}, Paging(pages=3)),
        ({"page": 1, "pages": "3"}, Paging(pages=3)),
    ],
)
def test_numbers_and_links_are_found_some_levels_deeper(beside: dict[str, Any], paging: Paging) -> None:
    assert said(beside) == paging


@pytest.mark.parametrize("value", [False, None, "", "false", "no", 0, "0"])
def test_a_flag_that_says_no_in_other_words_is_no_further_page(value: object) -> None:
    assert said({"has_more": value, "last": True}) == NO_PAGING


@pytest.mark.parametrize(
    ("headers", "status", "paging"),
    [
        ({"content-range": "items 0-0/20"}, 200, Paging(total=20)),
        ({"content-range": "0-0/20"}, 206, Paging(total=20)),
        ({"content-range": "items 0-0/1"}, 206, Paging(total=1)),
        ({"content-range": "items 0-0/*"}, 200, Paging()),
        ({"content-range": "items 0-0/*"}, 206, Paging(is_cut_off=True)),
        ({"content-range": "bytes 0-9/10"}, 206, Paging(is_cut_off=True)),
        ({}, 206, Paging(is_cut_off=True)),
        ({"link": "</v1/x?p=2>; rel=next", "x-next-page": "2"}, 206, Paging(next_link="/v1/x?p=2")),
        ({"x-next-page": "2", "x-total": "3", "x-total-pages": "3"}, 200, Paging(None, 3, 3, is_cut_off=True)),
        ({"x-next-page": "", "total-count": "1"}, 200, Paging(total=1)),
    ],
)
def test_parts_of_a_list_are_known_by_status_and_headers(headers: dict[str, str], status: int, paging: Paging) -> None:
    body = b'[{"id": "1"}]'

    assert paging_of(whole(RESOURCES.decode_page(body)), Response(status, headers, body)) == paging


@pytest.mark.parametrize(
    "text", [b'{"next":"\xff","data":[]}', b'{"meta":' + b"[" * 5_000 + b"]" * 5_000 + b',"data":[]}']
)
def test_what_cannot_be_read_beside_a_list_refuses_it(text: bytes) -> None:
    with pytest.raises(UpstreamInvalidAnswer):
        paging_of(whole(RESOURCES.decode_page(text)), Response(200, {}, text))


@settings(max_examples=500)
@given(
    st.lists(
        st.sampled_from(
            ["https:", "http:", "//", "/", "..", ".", "%2e", "\\", "@", ":", "8443", "leyr.example", "v1", "?", "#"]
        )
        | st.text(max_size=3),
        max_size=8,
    ).map("".join)
)
@example("//leyr.example:8443@evil.example/v1/x")
@example("https://leyr.example:8443\\@evil.example/v1/")
@example("/v1/%2e%2e/secret")
@example("/v1/\r\nhost: evil")
def test_a_link_leads_below_the_base_url_or_is_refused(link: str) -> None:
    with suppress(UpstreamInvalidAnswer):
        target = next_target(link, BASE, TARGET)

        assert target.startswith("/")
        assert target.isascii()
        assert target.isprintable()
        assert " " not in target
        whole_url = urlsplit(BASE + target)
        assert (whole_url.hostname, whole_url.port) == ("leyr.example", 8443)
        assert not {".", "..", "%2e", "%2e%2e"} & set(whole_url.path.lower().split("/"))
