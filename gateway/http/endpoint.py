"""`/graphql`: GraphQL over HTTP, and GraphiQL for browsers."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.auth.caller import Authenticator
from gateway.auth.rate_limit import RateLimits
from gateway.domain.errors import Forbidden, GatewayError, Internal
from gateway.domain.models import EVERYTHING
from gateway.http.compression import preferred_encoding
from gateway.http.concurrency_limit import ConcurrencyLimit
from gateway.http.csrf import may_be_csrf
from gateway.http.error_responses import fault, refusal_answer, refused
from gateway.http.graphiql import GraphiQL
from gateway.http.negotiation import MediaType, preferred
from gateway.http.request_context import OperationSpan, OperationSpans, RequestLog, Tally, Trail, trail_of
from gateway.http.request_timeout import ClientDisconnectedError
from gateway.http.requests import RequestReader, RequestRefusedError
from gateway.http.response_cache import CacheControl, CacheKey, GraphQLResponse, ResponseCache, is_known
from gateway.http.runner import Asked, Runner, Told


class DirectRoute:
    """Middleware that hands requests for one path to its endpoint."""

    def __init__(self, app: ASGIApp, path: str, to: ASGIApp) -> None:
        self._app = app
        self._path = path
        self._to = to

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        direct = scope["type"] == "http" and scope["path"] == self._path
        await (self._to if direct else self._app)(scope, receive, send)


_ANSWERS = (MediaType.JSON, MediaType.GRAPHQL_RESPONSE)
_ANSWERS_AND_PAGE = (*_ANSWERS, MediaType.HTML)
_READING = frozenset({"GET", "HEAD"})
_METHODS = _READING | {"POST"}
_VARY = b"accept, accept-encoding, x-gateway-explain"
_NOT_KEPT = (b"cache-control", b"no-store")
_LARGE_ANSWER = 64 * 1024
_SECONDS = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)
_WANTS_THE_TRUTH_NOW = re.compile(r"(^|[,\s])(no-cache|no-store|max-age=0)($|[,;\s])", re.ASCII | re.IGNORECASE)


@dataclass(slots=True)
class _Exchange:
    """One request on its way to its answer, and what there is to say of it."""

    scope: Scope
    receive: Receive
    headers: Mapping[bytes, str]
    trail: Trail
    started: float
    span: OperationSpan | None
    media_type: MediaType = MediaType.JSON
    caller: str | None = None
    refused: GatewayError | None = None
    told: Told = field(default_factory=Told)

    @property
    def is_post(self) -> bool:
        return bool(self.scope["method"] == "POST")


class GraphQLEndpoint:
    """Answers requests for operations: lets them in, finds or makes the answer, sends it, and logs a line."""

    def __init__(  # noqa: PLR0913 # the composition root hands in what a request needs, each by name
        self,
        runner: Runner,
        *,
        reader: RequestReader,
        authenticator: Authenticator,
        rate_limits: RateLimits,
        finished: ResponseCache,
        concurrency_limit: ConcurrencyLimit,
        freshness: CacheControl,
        log: RequestLog,
        clock: Callable[[], float],
        new_reference: Callable[[], str],
        digest_key: bytes,
        explorer: GraphiQL | None,
        tally: Tally | None,
        spans: OperationSpans | None,
    ) -> None:
        self._runner = runner
        self._reader = reader
        self._authenticator = authenticator
        self._rate_limits = rate_limits
        self._vary = _VARY + authenticator.vary
        self._finished = finished
        self._concurrency_limit = concurrency_limit
        self._freshness = freshness
        self._log = log
        self._clock = clock
        self._new_reference = new_reference
        self._digest_key = digest_key
        self._explorer = explorer
        self._tally = tally
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application: answers with the media type that the client prefers."""
        headers = _by_name(scope["headers"])
        accept = headers.get(b"accept")
        if self._explorer and scope["method"] in _READING and preferred(accept, _ANSWERS_AND_PAGE) is MediaType.HTML:
            await self._explorer.page()(scope, receive, send)
            return
        exchange = self._begun(scope, receive, headers)
        try:
            answer = await self._answer(exchange)
        except RequestRefusedError as refusal:
            exchange.refused = refusal.error
            answer = refusal_answer(refusal, exchange.media_type, exchange.trail.request_id)
        except ClientDisconnectedError:
            exchange.told.outcome = "left"
            self._write_line(exchange, 499)
            return
        except Exception as error:  # noqa: BLE001 # a fault of ours, which must reach the client without its text
            self._log.fault(exchange.trail, error)
            exchange.told.outcome, exchange.told.codes = "failed", [Internal.code]
            answer = refusal_answer(fault(), exchange.media_type, exchange.trail.request_id)
        await self._send(exchange, answer, send)
        self._write_line(exchange, answer.status)

    def _begun(self, scope: Scope, receive: Receive, headers: Mapping[bytes, str]) -> _Exchange:
        trail, started, span = trail_of(headers, self._new_reference), self._clock(), None
        if self._spans is not None:
            span = self._spans.begun(trail)
            if span is not None:
                trail = trail._replace(begun_trace=span.begun_trace)
        return _Exchange(scope, receive, headers, trail, started, span)

    async def _answer(self, exchange: _Exchange) -> GraphQLResponse:
        """Raises RequestRefusedError."""
        asked = await self._let_in(exchange)
        headers, receive = exchange.headers, exchange.receive
        is_post = exchange.is_post
        body = await self._reader.body(receive, headers) if is_post else exchange.scope["query_string"]
        key = self._key(asked, headers, body)
        found = None if asked.truth_now or asked.explain else self._finished.find(key)
        if found is not None:
            exchange.told.outcome = "finished"
            return found
        request = self._reader.post(headers, body) if is_post else self._reader.get(body)
        try:
            with self._concurrency_limit.passed():
                answer = await self._runner.run(request, asked, exchange.trail, exchange.told, receive)
        except GatewayError as error:
            raise refused(error) from None
        if answer.fresh_until is not None and exchange.told.reads:
            self._finished.offer(key, answer, answer.fresh_until)
        return answer

    async def _let_in(self, exchange: _Exchange) -> Asked:
        """What a request asks, if its head alone is no reason to turn it away. Raises RequestRefusedError."""
        headers, method = exchange.headers, exchange.scope["method"]
        media_type = preferred(headers.get(b"accept"), _ANSWERS)
        if media_type is None:
            raise RequestRefusedError(406, f"Accept {' or '.join(_ANSWERS)}")
        exchange.media_type = media_type
        if method not in _METHODS:
            raise RequestRefusedError(405, "Send queries by GET or POST", ((b"allow", b"GET, POST"),))
        if method != "POST" and may_be_csrf(headers):
            message = "A GET needs a header such as `x-requested-with`, which pages of other sites cannot send"
            raise refused(Forbidden(message))
        try:
            caller = await self._authenticator.caller(exchange.scope["headers"], headers)
            if caller is not None:
                # Known before it is counted, so that the log tells who sends too many.
                exchange.caller = caller.name
                self._rate_limits.take(caller)
        except GatewayError as error:
            raise refused(error) from None
        return Asked(
            media_type,
            queries_only=method != "POST",
            truth_now=_WANTS_THE_TRUTH_NOW.search(headers.get(b"cache-control", "")) is not None,
            explain=headers.get(b"x-gateway-explain", "").strip() == "1",
            seconds=_seconds(headers.get(b"x-gateway-deadline")),
            access=EVERYTHING if caller is None else caller.access,
        )

    def _key(self, asked: Asked, headers: Mapping[bytes, str], body: bytes) -> CacheKey:
        """A digest, since what clients send may be personal and must not be kept for as long as an answer."""
        digest = blake2b(body, key=self._digest_key, digest_size=16)
        content_type = headers.get(b"content-type", "")
        if content_type != MediaType.JSON:
            digest.update(content_type.encode("latin-1"))
        return (asked.media_type, asked.queries_only, asked.access), digest.digest()

    async def _send(self, exchange: _Exchange, answer: GraphQLResponse, send: Send) -> None:
        own = [(b"vary", self._vary), *exchange.trail.headers()]
        own += [_NOT_KEPT] if exchange.is_post else self._freshness.headers(answer)
        if not exchange.is_post and is_known(answer, exchange.headers):
            await send({"type": "http.response.start", "status": 304, "headers": own})
            await send({"type": "http.response.body", "body": b""})
            return
        encoding = preferred_encoding(exchange.headers.get(b"accept-encoding"))
        size = answer.size
        if size < _LARGE_ANSWER:
            await answer.send(send, encoding, own)
            return
        with self._concurrency_limit.sending(size):
            await answer.send(send, encoding, own)

    def _write_line(self, exchange: _Exchange, status: int) -> None:
        seconds, told, tally, span = self._clock() - exchange.started, exchange.told, self._tally, exchange.span
        if exchange.refused is not None:
            code = exchange.refused.code
            self._log.refused(exchange.trail, caller=exchange.caller, seconds=seconds, status=status, code=code)
            if tally is not None:
                tally.refused(code)
            if span is not None:
                span.refused(code, seconds=seconds, status=status)
            return
        reads = Counter([read.origin for read in told.reads])
        self._log.answered(
            exchange.trail,
            caller=exchange.caller,
            operation=told.operation_type,
            document=told.document_hash,
            seconds=seconds,
            reads=reads,
            outcome=told.outcome,
            status=status,
            codes=told.codes,
        )
        if tally is not None:
            tally.answered(
                outcome=told.outcome,
                operation=told.operation_type,
                seconds=seconds,
                waited_seconds=told.waited,
                reads=reads,
                asked=told.asked,
            )
        if span is not None:
            span.answered(
                outcome=told.outcome,
                operation=told.operation_type,
                document=told.document_hash,
                seconds=seconds,
                reads=reads,
                status=status,
                codes=told.codes,
            )


def _by_name(raw: Collection[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """Headers by name; what comes in several lines is one list (RFC 9110, 5.3)."""
    headers = {name: value.decode("latin-1") for name, value in raw}
    if len(headers) < len(raw):
        for name in headers:
            headers[name] = ", ".join(value.decode("latin-1") for key, value in raw if key == name)
    return headers


def _seconds(deadline: str | None) -> float:
    """How long a client wants to wait at most. Raises RequestRefusedError."""
    if deadline is None:
        return inf
    if not _SECONDS.fullmatch(deadline.strip()):
        raise RequestRefusedError(400, "x-gateway-deadline is not a number of seconds such as 2.5")
    return float(deadline)
