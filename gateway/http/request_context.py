"""One GraphQL request: its ids and options, the record of it that listeners get, its timeout and cancellation."""

import asyncio
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, NamedTuple, Self, TypeAlias

from starlette.types import Receive

from gateway.auth.caller import Caller
from gateway.domain.errors import DeadlineExceeded
from gateway.domain.models import EVERYTHING, Access
from gateway.domain.personal_numbers import may_hold_a_personal_number
from gateway.fetch.fetch_scope import CacheStatus, FetchScope, Incomplete
from gateway.http.negotiation import MediaType
from gateway.http_client.semaphore import ResizableSemaphore

RequestOutcome: TypeAlias = Literal["ok", "partial", "failed", "refused", "finished", "left"]
"""`finished` is a response from the response cache, `refused` an operation of which no field ran, and `left` an
operation whose client disconnected before it got a response."""

_is_uuid = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}").fullmatch
_is_traceparent = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
# Whatever may_hold_a_personal_number finds between hexadecimal digits has this form; looking closer takes ten times
# as long, and few ids need it.
_may_be_dated = re.compile(r"[0-9]{2}(?:0[1-9]|1[0-2])[0-9]{2}[a-z]?[0-9]{3}[0-9a-z]", re.IGNORECASE).search


class RequestIds(NamedTuple):
    """The ids that follow a request through logs and traces; `traceparent` is as in W3C Trace Context, version 00."""

    request_id: str
    traceparent: str | None = None
    new_trace_id: str | None = None
    """The id of the trace that the gateway began, where the client sent no `traceparent`."""

    @property
    def trace_id(self) -> str | None:
        """The id of the trace that the request belongs to, if any."""
        return self.new_trace_id if self.traceparent is None else self.traceparent[3:35]

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response headers that tell the client the ids."""
        headers = [(b"x-request-id", self.request_id.encode())]
        if self.traceparent is not None:
            headers.append((b"traceparent", self.traceparent.encode()))
        return headers


def request_ids(headers: Mapping[bytes, str], new_request_id: Callable[[], object]) -> RequestIds:
    """Take the ids from a request's headers, whose names are in lower case.

    A request id must be a UUID, a `traceparent` of version 00. The gateway ignores any other, and also those whose
    digits could be a personal number: one in 25 random UUIDs, one in 13 random trace parents.
    """
    request_id = headers.get(b"x-request-id")
    if request_id is None or not _is_uuid(request_id) or _may_be_personal(request_id):
        request_id = str(new_request_id())
    traceparent = headers.get(b"traceparent")
    if traceparent is not None and (not _is_traceparent(traceparent) or _may_be_personal(traceparent)):
        traceparent = None
    return RequestIds(request_id, traceparent)


def _may_be_personal(text: str) -> bool:
    # A hyphen of the form may stand inside a number, even beside the letter of a Finnish one.
    plain = text.replace("-", "")
    return _may_be_dated(plain) is not None and may_hold_a_personal_number(plain)


@dataclass(slots=True)
class RequestRecord:
    """What a request came to, for listeners. Only `ids` may hold something that the client chose.

    `rejection` is the error code of a request that got an error response instead of becoming an operation, else None.
    `caller` is None for an anonymous caller. `operation_type` and `document_hash` (SHA-256, hexadecimal) are empty
    where they did not become known. `lists_needed` is the number of lists that fields asked for, `reads` the number
    of lists that were read for them, by cache status, and `incomplete` what these lack. `seconds` is the time from the
    request's head to the end of its response, `upstream_seconds` the part of it in which the request waited for Leyr.
    """

    ids: RequestIds
    status: int = 0
    seconds: float = 0.0
    rejection: str | None = None
    caller: str | None = None
    outcome: RequestOutcome = "refused"
    codes: Sequence[str] = ()
    operation_type: str | None = None
    document_hash: str = ""
    reads: Mapping[CacheStatus, int] = field(default_factory=dict)
    incomplete: Sequence[Incomplete] = ()
    lists_needed: int = 0
    upstream_seconds: float = 0.0


@dataclass(slots=True)
class RequestContext:
    """A request on its way to its response: what its head asks for, what its caller may see, and its record.

    The endpoint makes it; the endpoint and the runner fill in the record.
    """

    record: RequestRecord
    headers: Mapping[bytes, str]
    receive: Receive
    is_post: bool
    media_type: MediaType = MediaType.JSON
    bypass_cache: bool = False
    explain: bool = False
    timeout_seconds: float = inf
    access: Access = EVERYTHING
    caller: Hashable = field(default=None, repr=False)
    """The key of its caller's shares: a name, or the bytes of an address, which is personal and goes nowhere else."""
    sender: Caller | None = field(default=None, repr=False)
    """Who sends it, with its rights; anonymous callers are one of that name."""
    check_unsent: Callable[[], None] = lambda: None
    is_leaving: Callable[[], bool] | None = None
    """Whether its client has closed its side of the connection; None where the server does not tell."""
    take_calls: Callable[[int], None] | None = None
    """Takes upstream calls from the caller's budget; None where it has none."""


_SECONDS_BEFORE_WATCHING = 0.05
_WRITING_SECONDS = 2.0


class ClientDisconnectedError(Exception):
    """The client disconnected before it got a response."""


@dataclass(slots=True, eq=False, repr=False)
class RequestTimeout:
    """A context manager around the work on a request, in the request's own task.

    Timers begin when the request first waits for upstream or pauses, which most requests never do. After `seconds` the
    scope expires. When the client disconnects, the block is cancelled and raises ClientDisconnectedError, unless
    `outlives_client` is set; a cancellation from elsewhere passes through.

    An answer that is so large that it pauses is written in turn with others, `writing` of them at a time, so that few
    of them take memory; callers take turns. `check_unsent` raises Overloaded where its client has enough to read.
    """

    scope: FetchScope
    receive: Receive
    seconds: float
    writing: ResizableSemaphore
    caller: Hashable = None
    check_unsent: Callable[[], None] = lambda: None
    outlives_client: bool = False
    _task: asyncio.Task[Any] | None = None
    _has_disconnected: bool = False
    _late_at: float | None = None
    _is_writing: bool = False
    _timers: tuple[asyncio.TimerHandle, ...] = ()
    _watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self.scope.on_waiting = self._begin
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.scope.on_waiting = None
        self.wait()
        task, watcher, timers = self._task, self._watcher, self._timers
        # The watcher's traceback holds this object: with the references kept, both would be garbage in a cycle.
        self._task, self._watcher, self._timers = None, None, ()
        for timer in timers:
            timer.cancel()
        if watcher is not None:
            watcher.cancel()
        if kind is asyncio.CancelledError and self._has_disconnected and task is not None and not task.uncancel():
            raise ClientDisconnectedError from None

    def use(self, scope: FetchScope) -> None:
        """Let another scope expire when the request's time is over."""
        self.scope.on_waiting = None
        self.scope = scope
        scope.on_waiting = self._begin

    async def pause(self) -> None:
        """Give other requests their turn. Raises Overloaded where the caller has too much of other answers to read.

        Raises DeadlineExceeded when the request's time is over since long.

        What came in time may be written somewhat later.
        """
        self._begin()
        if not self._is_writing:
            self._is_writing = self.writing.try_acquire() or bool(await self.writing.acquire(self._left(), self.caller))
            # While it waited for its turn, others may have filled what clients have not read yet.
            self.check_unsent()
        await asyncio.sleep(0)
        if self._left() < 0 or not self._is_writing:
            raise DeadlineExceeded("The answer could not be written in the time that the request had", retryable=True)

    def _left(self) -> float:
        """How many seconds are left to write the answer."""
        return inf if self._late_at is None else self._late_at - asyncio.get_running_loop().time()

    def wait(self) -> None:
        """Let others write while this request waits for upstream."""
        if self._is_writing:
            self._is_writing = False
            self.writing.release()

    def _begin(self) -> None:
        if self._task is not None:
            return
        loop = asyncio.get_running_loop()
        self._late_at = loop.time() + self.seconds + _WRITING_SECONDS
        self._task = asyncio.current_task()
        self._timers = (
            loop.call_later(self.seconds, self._expire),
            loop.call_later(_SECONDS_BEFORE_WATCHING, self._watch),
        )

    def _expire(self) -> None:
        self.scope.expire()

    def _watch(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._until_disconnected())

    async def _until_disconnected(self) -> None:
        is_whole = False
        while (message := await self.receive())["type"] != "http.disconnect":
            if is_whole:
                # After a whole request only a disconnect can come; ignore a server that sends anything else.
                return
            is_whole = not message.get("more_body", False)
        self._has_disconnected = True
        if self._task is not None and not self.outlives_client:
            self._task.cancel()
