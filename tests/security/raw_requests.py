"""Requests as bytes, since HTTP clients refuse to send what attackers send, and checks of the responses."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from tests.stand_ins.raw_client import RawConnection, RawResponse

Header = tuple[bytes, bytes]

GOOD = b'{"query": "{ __typename }"}'
JSON_BODY = (b"Content-Type", b"application/json")
# One that pages of other sites cannot send without asking first.
PREFLIGHTED = (b"X-Requested-With", b"fetch")
CLIENTS_FAULTS = frozenset(
    {"BAD_USER_INPUT", "FORBIDDEN", "NOT_FOUND", "OPERATION_TOO_LARGE", "PERSISTED_QUERY_NOT_FOUND"}
)


def written(
    method: bytes = b"POST",
    target: bytes = b"/graphql",
    headers: Iterable[Header] = (JSON_BODY,),
    body: bytes = GOOD,
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """A request; Host and Content-Length are added where no header of that name is given."""
    given = list(headers)
    names = {name.lower() for name, _ in given}
    if b"host" not in names:
        given.insert(0, (b"Host", b"gateway.example"))
    if body and not names & {b"content-length", b"transfer-encoding"}:
        given.append((b"Content-Length", b"%d" % len(body)))
    head = b"".join(b"%s: %s\r\n" % each for each in given)
    return b"%s %s %s\r\n%s\r\n%s" % (method, target, version, head, body)


def exchanged(url: str, data: bytes, method: bytes = b"POST") -> RawResponse | None:
    """The reply to a request, None where the server closed without one; the connection must work afterwards, or end."""
    with RawConnection(url) as wire:
        # A server may answer and close before it has taken everything.
        with suppress(BrokenPipeError, ConnectionResetError):
            wire.send(data)
        reply = next_reply(wire, method)
        works_or_ends(wire)
        return reply


def next_reply(wire: RawConnection, method: bytes = b"POST") -> RawResponse | None:
    """The next reply; None where the server closed without one."""
    try:
        return wire.answer(to=method.decode("latin-1"))
    except (ConnectionResetError, IndexError):
        return None


def works_or_ends(wire: RawConnection) -> None:
    """The connection takes another request as it should, or the server has closed it."""
    with suppress(BrokenPipeError, ConnectionResetError):
        wire.send(written(headers=(JSON_BODY, (b"Connection", b"close"))))
    reply = next_reply(wire)
    if reply is not None:
        answered(reply)


def answered(reply: RawResponse | None) -> RawResponse:
    """The reply, which must be the answer to the query that is sent by default."""
    assert reply is not None, "closed without an answer"
    assert (reply.status, reply.json()) == (200, {"data": {"__typename": "Query"}})
    return reply


def refusal(reply: RawResponse | None, *statuses: int) -> dict[str, Any]:
    """The one error of a reply with such a status, which has the form and the members that every error has."""
    assert reply is not None, "closed without an answer"
    assert reply.status in statuses, reply
    assert reply.headers["content-type"].partition(";")[0] in {"application/json", "application/graphql-response+json"}
    answer = reply.json()
    assert set(answer) == {"errors"}
    [error] = answer["errors"]
    assert error["message"]
    assert set(error["extensions"]) == {"code", "retryable", "reference", "origin"}
    assert error["extensions"]["code"] in CLIENTS_FAULTS
    assert error["extensions"]["retryable"] is False
    assert error["extensions"]["origin"] == "client"
    return dict(error)


def no_fault(reply: RawResponse | None) -> None:
    """Whatever became of a request, it was no fault of the server; None is a connection that was closed."""
    if reply is None:
        return
    assert reply.status < 500
    if reply.status >= 400:
        refusal(reply, reply.status)
