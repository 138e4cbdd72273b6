"""`/graphql`: GraphQL over HTTP, and GraphiQL for browsers."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.auth.caller import Authenticator
from gateway.auth.rate_limit import RateLimits
from gateway.domain.errors import Forbidden, GatewayError, Internal
from gateway.domain.models import EVERYTHING
from gateway.http.concurrency_limit import ConcurrencyLimit
from gateway.http.csrf import may_be_csrf
from gateway.http.error_responses import HttpError, error_response, http_error, internal_error
from gateway.http.graphiql import GraphiQL
from gateway.http.negotiation import ENCODINGS, MediaType, preferred_encoding, preferred_media_type
from gateway.http.request_context import (
    RequestContext,
    RequestEvents,
    RequestIds,
    RequestOptions,
    RequestTracer,
    request_ids,
)
from gateway.http.request_timeout import ClientDisconnectedError
from gateway.http.requests import RequestReader
from gateway.http.response_cache import CacheControl, CacheKey, GraphQLResponse, ResponseCache, is_not_modified
from gateway.http.runner import Runner


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """Middleware that calls the endpoint of one path, without Starlette's router in between."""

    app: ASGIApp
    path: str
    to: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        is_direct = scope["type"] == "http" and scope["path"] == self.path
        await (self.to if is_direct else self.app)(scope, receive, send)


_MEDIA_TYPES = (MediaType.JSON, MediaType.GRAPHQL_RESPONSE)
_MEDIA_TYPES_AND_HTML = (*_MEDIA_TYPES, MediaType.HTML)
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_METHODS = _SAFE_METHODS | {"POST"}
_VARY = b"accept, accept-encoding, x-gateway-explain"
_NO_STORE = (b"cache-control", b"no-store")
_LARGE_RESPONSE = 64 * 1024
_CLIENT_CLOSED_REQUEST = 499
_SECONDS = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)
_BYPASSES_CACHE = re.compile(r"(^|[,\s])(no-cache|no-store|max-age=0)($|[,;\s])", re.ASCII | re.IGNORECASE)


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class GraphQLEndpoint:
    """Answers GraphQL requests: admits them, finds a response in the cache or makes it, sends it, tells listeners.

    `listeners` include the `tracer`; `on_fault` is called with each unexpected exception.
    """

    runner: Runner
    reader: RequestReader
    authenticator: Authenticator
    rate_limits: RateLimits
    cache: ResponseCache
    concurrency_limit: ConcurrencyLimit
    cache_control: CacheControl
    clock: Callable[[], float]
    new_reference: Callable[[], str]
    digest_key: bytes
    graphiql: GraphiQL | None
    listeners: Sequence[RequestEvents]
    tracer: RequestTracer | None
    on_fault: Callable[[RequestIds, Exception], None]
    _vary: bytes = field(init=False)

    def __post_init__(self) -> None:
        self._vary = _VARY + self.authenticator.vary

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application: responds in the media type that the client prefers."""
        headers, method = _by_name(scope["headers"]), scope["method"]
        if self.graphiql and method in _SAFE_METHODS:
            preferred = preferred_media_type(headers.get(b"accept"), _MEDIA_TYPES_AND_HTML)
            if preferred is MediaType.HTML:
                await self.graphiql.page()(scope, receive, send)
                return
        ids, started = request_ids(headers, self.new_reference), self.clock()
        if self.tracer is not None and (trace_id := self.tracer.started(ids)) is not None:
            ids = ids._replace(new_trace_id=trace_id)
        context = RequestContext(ids, method, headers, receive, started)
        try:
            response = await self._respond(context, scope)
        except HttpError as error:
            context.rejection = error.error.code
            response = error_response(error, context.media_type, ids.request_id)
        except ClientDisconnectedError:
            context.outcome = "left"
            self._finish(context, _CLIENT_CLOSED_REQUEST)
            return
        except Exception as error:  # noqa: BLE001 # a fault of ours, which must reach the client without its text
            self.on_fault(ids, error)
            context.outcome, context.codes = "failed", (Internal.code,)
            response = error_response(internal_error(), context.media_type, ids.request_id)
        await self._send(context, response, send)
        self._finish(context, response.status)

    async def _respond(self, context: RequestContext, scope: Scope) -> GraphQLResponse:
        """Raises HttpError."""
        options = context.options = await self._admit(context, scope)
        headers, is_post = context.headers, context.method == "POST"
        body = await self.reader.body(context.receive, headers) if is_post else scope["query_string"]
        key = self._key(context, body)
        kept = None if options.bypass_cache or options.explain else self.cache.find(key)
        if kept is not None:
            context.outcome = "finished"
            return kept
        request = self.reader.post(headers, body) if is_post else self.reader.get(body)
        try:
            with self.concurrency_limit:
                response = await self.runner.run(request, context)
        except GatewayError as error:
            raise http_error(error) from None
        if response.fresh_until is not None and context.reads:
            self.cache.offer(key, response, response.fresh_until)
        return response

    async def _admit(self, context: RequestContext, scope: Scope) -> RequestOptions:
        """Check a request's head and count it against the caller's rate limit. Raises HttpError."""
        headers, method = context.headers, context.method
        media_type = preferred_media_type(headers.get(b"accept"), _MEDIA_TYPES)
        if media_type is None:
            raise HttpError(406, f"Accept {' or '.join(_MEDIA_TYPES)}")
        context.media_type = media_type
        if method not in _METHODS:
            raise HttpError(405, "Send queries by GET or POST", ((b"allow", b"GET, POST"),))
        if method != "POST" and may_be_csrf(headers):
            message = "A GET needs a header such as `x-requested-with`, which pages of other sites cannot send"
            raise http_error(Forbidden(message))
        try:
            caller = await self.authenticator.caller(scope["headers"], headers)
            if caller is not None:
                # Before the rate limit, so that the log tells who sends too many requests.
                context.caller = caller.name
                self.rate_limits.take(caller)
        except GatewayError as error:
            raise http_error(error) from None
        return RequestOptions(
            queries_only=method != "POST",
            bypass_cache=_BYPASSES_CACHE.search(headers.get(b"cache-control", "")) is not None,
            explain=headers.get(b"x-gateway-explain", "").strip() == "1",
            timeout_seconds=_timeout_seconds(headers.get(b"x-gateway-deadline")),
            access=EVERYTHING if caller is None else caller.access,
        )

    def _key(self, context: RequestContext, body: bytes) -> CacheKey:
        """Digest the request: what clients send may be personal and must not be kept as long as a response."""
        digest = blake2b(body, key=self.digest_key, digest_size=16)
        content_type = context.headers.get(b"content-type", "")
        if content_type != MediaType.JSON:
            digest.update(content_type.encode("latin-1"))
        options = context.options
        return (context.media_type, options.queries_only, options.access), digest.digest()

    async def _send(self, context: RequestContext, response: GraphQLResponse, send: Send) -> None:
        is_post = context.method == "POST"
        headers = [(b"vary", self._vary), *context.ids.headers()]
        headers += [_NO_STORE] if is_post else self.cache_control.headers(response)
        if not is_post and is_not_modified(response, context.headers):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        encoding = preferred_encoding(context.headers.get(b"accept-encoding"), ENCODINGS)
        size = response.size
        if size < _LARGE_RESPONSE:
            await response.send(send, encoding, headers)
            return
        with self.concurrency_limit.sending(size):
            await response.send(send, encoding, headers)

    def _finish(self, context: RequestContext, status: int) -> None:
        request = context.finished(status, self.clock())
        for listener in self.listeners:
            listener.finished(request)


def _by_name(raw: Collection[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """Join headers by name; several lines of one name are one list (RFC 9110, 5.3)."""
    headers = {name: value.decode("latin-1") for name, value in raw}
    if len(headers) < len(raw):
        for name in headers:
            headers[name] = ", ".join(value.decode("latin-1") for key, value in raw if key == name)
    return headers


def _timeout_seconds(deadline: str | None) -> float:
    """How long a client is ready to wait. Raises HttpError."""
    if deadline is None:
        return inf
    if not _SECONDS.fullmatch(deadline.strip()):
        raise HttpError(400, "x-gateway-deadline is not a number of seconds such as 2.5")
    return float(deadline)
