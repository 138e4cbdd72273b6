"""Responses are compressed in the encoding that the client prefers."""

import gzip
import sys
from collections.abc import Callable

import httpx
import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from tests.harness import Clock, Gateway

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LONG = {
    "query": "query($id: ID!) { careUnit(id: $id) { timeslots { start end resource { name } } } }",
    "variables": {"id": care_unit_id(CareUnitKey("webdoc", "L0_1"))},
}
SHORT = {"query": "{ __typename }"}


def received(gateway: Gateway, question: object, accept_encoding: str) -> tuple[httpx.Headers, bytes]:
    """Headers and body as they came over the wire."""
    request = gateway.http.build_request(
        "POST", "/graphql", json=question, headers={"accept-encoding": accept_encoding}
    )
    response = gateway.http.send(request, stream=True)
    try:
        return response.headers, b"".join(response.iter_raw())
    finally:
        response.close()


@pytest.mark.parametrize(
    ("accept_encoding", "used"),
    [
        ("gzip, deflate, br, zstd", "gzip"),
        ("zstd, gzip;q=0.5", "zstd"),
        ("gzip, deflate", "gzip"),
        ("gzip;q=1, zstd;q=0.5", "gzip"),
        ("identity;q=0, gzip", "gzip"),
        ("identity;q=0, *", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "gzip"),
        ("identity", None),
        ("identity, gzip;q=0.1", None),
        ("br", None),
        ("gzip;q=0, zstd;q=0", None),
    ],
)
def test_response_is_the_same_in_each_encoding(
    accept_encoding: str, used: str | None, serve_gateway: Callable[..., Gateway]
) -> None:
    # What is fetched anew at another time says so.
    gateway = serve_gateway(clock=Clock())
    _, plain = received(gateway, LONG, "identity")

    for _ in range(3):
        headers, body = received(gateway, LONG, accept_encoding)

        assert headers.get("content-encoding") == used
        assert headers["vary"] == "accept, accept-encoding, sec-fetch-site, x-gateway-explain"
        assert headers["cache-control"] == "no-store"
        assert int(headers["content-length"]) == len(body)
        assert {"zstd": zstd.decompress, "gzip": gzip.decompress}.get(used or "", bytes)(body) == plain
        assert used is None or len(body) < len(plain) / 5


def test_a_browser_that_takes_zstd_gets_it(gateway: Gateway) -> None:
    chrome = {"accept-encoding": "gzip, deflate, br, zstd", "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}

    response = gateway.http.post("/graphql", json=LONG, headers=chrome)

    assert response.headers["content-encoding"] == "zstd"


@pytest.mark.parametrize("accept_encoding", ["gzip, zstd", "*"])
def test_short_responses_are_not_compressed(accept_encoding: str, gateway: Gateway) -> None:
    headers, body = received(gateway, SHORT, accept_encoding)

    assert "content-encoding" not in headers
    assert headers["vary"] == "accept, accept-encoding, sec-fetch-site, x-gateway-explain"
    assert body == b'{"data":{"__typename":"Query"}}'


def test_error_responses_vary_by_accept_encoding(gateway: Gateway) -> None:
    headers, body = received(gateway, {"query": "{" + "a " * 2_000}, "gzip")

    assert headers["vary"] == "accept, accept-encoding, sec-fetch-site, x-gateway-explain"
    assert b"errors" in (gzip.decompress(body) if "content-encoding" in headers else body)
