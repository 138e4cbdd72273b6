"""Httpx2Client: bodies that other clients read too, and what they may become together."""

import gzip
import zlib
from functools import partial

import pytest

from gateway.http_client.connection import BodyBudget, BodyBudgetError, BodyTooLargeError
from gateway.http_client.content_encoding import ContentDecodingError
from gateway.http_client.httpx2_client import Httpx2Client
from gateway.http_client.httpx2_exchange import Body
from tests.unit.http_client.scripted_server import MEBIBYTE, Server, answering, chunked, opened, sized

packed = partial(gzip.compress, mtime=0)
PLAIN = b'["what can be compressed, compressed, compressed"]'
CODED = {
    "of members": packed(PLAIN[:9]) + packed(b"") + packed(PLAIN[9:]),
    "padded": packed(PLAIN) + bytes(20),
    "of padded members": packed(PLAIN[:9]) + packed(PLAIN[9:]) + bytes(512),
}


@pytest.mark.parametrize("name", CODED)
async def test_gzip_of_members_or_with_padding_is_read(name: str) -> None:
    coded, field = CODED[name], b"content-encoding: gzip"
    for response in (sized(coded, field), chunked([coded[at : at + 1] for at in range(len(coded))], field)):
        async with Server(answering(response)) as server, opened(Httpx2Client, server) as client:
            assert (await client.get("/", max_bytes=len(PLAIN))).body == PLAIN


@pytest.mark.parametrize("encoding", [b"UTF-8", b"none", b"Identity", b""])
async def test_what_is_no_content_encoding_means_none(encoding: bytes) -> None:
    async with (
        Server(answering(sized(PLAIN, b"content-encoding: " + encoding))) as server,
        opened(Httpx2Client, server) as client,
    ):
        assert (await client.get("/", max_bytes=len(PLAIN))).body == PLAIN


def test_members_are_bounded_together() -> None:
    body = Body("gzip", 1_000, BodyBudget(MEBIBYTE))

    with pytest.raises(BodyTooLargeError):
        body.add(packed(bytes(300)) * 4)


def test_a_member_that_is_cut_short_is_no_body() -> None:
    body = Body("gzip", 1_000, BodyBudget(MEBIBYTE))
    body.add(packed(PLAIN) + packed(PLAIN)[:-1])

    with pytest.raises(ContentDecodingError):
        body.into(200, {}, 0.0)


def test_large_bodies_are_counted_until_their_responses_are_let_go() -> None:
    budget = BodyBudget(MEBIBYTE)
    body = Body("deflate", MEBIBYTE, budget)
    body.add(zlib.compress(b"x" * MEBIBYTE))

    response = body.into(200, {}, 0.0)
    body.let_go()
    assert budget.held == MEBIBYTE
    other = Body("", MEBIBYTE, budget)
    with pytest.raises(BodyBudgetError):
        other.add(b"x" * (MEBIBYTE // 2))
    other.let_go()

    del response
    assert budget.held == 0
