"""`/graphql`: GraphQL over HTTP, and GraphiQL for browsers. `/schema.graphql`: the schema."""

import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from math import inf
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.auth.caller import AnonymousCallers, CredentialVerifier, Rate
from gateway.auth.rate_limit import RateLimits
from gateway.domain.errors import Forbidden, GatewayError, Internal, Overloaded, Unauthenticated
from gateway.http.concurrency_limit import ConcurrencyLimit, UnsentBytes, overloaded
from gateway.http.csrf import Origins, may_be_csrf
from gateway.http.error_responses import FAULT_MESSAGE, HttpError, error_response, http_error
from gateway.http.negotiation import (
    ENCODINGS,
    ENCODINGS_OF_BROWSERS,
    Encoding,
    MediaType,
    preferred_encoding,
    preferred_media_type,
)
from gateway.http.request_context import ClientDisconnectedError, RequestContext, RequestIds, RequestRecord, request_ids
from gateway.http.requests import RequestReader
from gateway.http.response_cache import CacheKey, GraphQLResponse, ResponseCache, cache_headers, is_not_modified
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
_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})
_VARY = (b"vary", b"accept, accept-encoding, sec-fetch-site, x-gateway-explain")
_VARY_BY_CALLER = (b"vary", b"accept, accept-encoding, sec-fetch-site, x-gateway-explain, authorization, x-api-key")
_NO_EXTENSIONS: Mapping[str, Any] = {}
_NO_STORE = (b"cache-control", b"no-store")
_LARGE_RESPONSE = 64 * 1024
_CLIENT_CLOSED_REQUEST = 499
_SECONDS = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)
_BYPASSES_CACHE = re.compile(r"(^|[,\s])(no-cache|no-store|max-age=0)($|[,;\s])", re.ASCII | re.IGNORECASE)


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class GraphQLEndpoint:
    """Answers GraphQL requests: admits them, finds a response in the cache or makes it, sends it, tells listeners.

    Without a `verifier` every caller is one of `anonymous`. `current_caller` is set to the caller of the request that
    a task works for. `on_started` begins a trace and returns its id, if it is recorded
    and new. `on_finished` are called when the response is sent, and must neither raise nor wait; `on_fault` is called
    with each unexpected exception.
    """

    runner: Runner
    reader: RequestReader
    verifier: CredentialVerifier | None
    anonymous: AnonymousCallers
    rate_limits: RateLimits
    cache: ResponseCache
    concurrency_limit: ConcurrencyLimit
    unsent_bytes: UnsentBytes
    current_caller: ContextVar[Hashable]
    clock: Callable[[], float]
    new_reference: Callable[[], object]
    digest_key: bytes
    graphiql: ASGIApp | None
    origins: Origins
    on_started: Callable[[RequestIds], str | None] | None
    on_finished: Sequence[Callable[[RequestRecord], None]]
    on_fault: Callable[[RequestIds, Exception], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application: responds in the media type that the client prefers."""
        headers, method = _by_name(scope["headers"]), scope["method"]
        if self.graphiql is not None and method in _SAFE_METHODS:
            preferred = preferred_media_type(headers.get(b"accept"), _MEDIA_TYPES_AND_HTML)
            if preferred is MediaType.HTML:
                await self.graphiql(scope, receive, send)
                return
        ids, started = request_ids(headers, self.new_reference), self.clock()
        if self.on_started is not None and (trace_id := self.on_started(ids)) is not None:
            ids = ids._replace(new_trace_id=trace_id)
        record = RequestRecord(ids)
        context = RequestContext(record, headers, receive, method == "POST")
        # An extension of the gateway's own server.
        context.is_leaving = (
            scope.get("extensions", _NO_EXTENSIONS).get("gateway.half_closed", _NO_EXTENSIONS).get("is_closed")
        )
        response: GraphQLResponse | None = None
        try:
            response = await self._respond(context, scope)
        except HttpError as error:
            response = _rejection(context, error)
        except ClientDisconnectedError:
            record.outcome = "left"
        except Exception as error:  # noqa: BLE001 # a fault of ours, which must reach the client without its text
            self.on_fault(ids, error)
            record.outcome, record.codes = "failed", (Internal.code,)
            response = error_response(http_error(Internal(FAULT_MESSAGE)), context.media_type, ids.request_id)
        if response is not None:
            response = await self._send(context, response, send)
        record.status = _CLIENT_CLOSED_REQUEST if response is None else response.status
        record.seconds = self.clock() - started
        for listener in self.on_finished:
            listener(record)

    async def send_schema(self, schema: GraphQLResponse, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the schema to whoever may ask; who may not is told as at `/graphql`."""
        headers, started = _by_name(scope["headers"]), self.clock()
        record = RequestRecord(request_ids(headers, self.new_reference))
        context = RequestContext(record, headers, receive, is_post=False)
        try:
            await self._identify(context, scope)
        except GatewayError as error:
            rejection = await self._send(context, _rejection(context, http_error(error)), send)
            record.status, record.seconds = rejection.status, self.clock() - started
            for listener in self.on_finished:
                listener(record)
        else:
            await self._send(context, schema, send)

    async def _respond(self, context: RequestContext, scope: Scope) -> GraphQLResponse:
        """Raises HttpError and ClientDisconnectedError."""
        try:
            await self._admit(context, scope)
            headers = context.headers
            body = await self.reader.body(context.receive, headers) if context.is_post else scope["query_string"]
            key = self._key(context, body)
            kept = None if context.bypass_cache or context.explain else self.cache.find(key)
            if kept is not None:
                context.record.outcome, context.record.incomplete = "finished", kept.incomplete
                return kept
            request = self.reader.post(headers, body) if context.is_post else self.reader.get(body)
            context.check_unsent = partial(self.unsent_bytes.check, context.caller)
            context.check_unsent()
            permit = self.concurrency_limit.permit(context.caller)
            with permit:
                response = await self.runner.run(request, context, permit)
            # What was whole when its permit was revoked is delivered.
            if permit.refusal is not None and context.record.codes:
                raise overloaded(permit.refusal)
        except GatewayError as error:
            raise http_error(error) from None
        if context.record.reads:
            self.cache.offer(key, response)
        return response

    async def _admit(self, context: RequestContext, scope: Scope) -> None:
        """Check a request's head and count it against the caller's rate limit. Raises HttpError and GatewayError."""
        headers, method = context.headers, scope["method"]
        media_type = preferred_media_type(headers.get(b"accept"), _MEDIA_TYPES)
        if media_type is None:
            raise HttpError(406, f"Accept {' or '.join(_MEDIA_TYPES)}")
        context.media_type = media_type
        if method not in _METHODS:
            raise HttpError(405, "Send queries by GET or POST", ((b"allow", b"GET, POST"),))
        if not context.is_post and may_be_csrf(headers, self.origins):
            raise Forbidden("A GET needs a header such as `x-requested-with`, which pages of other sites cannot send")
        await self._identify(context, scope)
        context.bypass_cache = _BYPASSES_CACHE.search(headers.get(b"cache-control", "")) is not None
        context.explain = headers.get(b"x-gateway-explain", "").strip() == "1"
        deadline = headers.get(b"x-gateway-deadline")
        if deadline is not None:
            if not _SECONDS.fullmatch(deadline.strip()):
                raise HttpError(400, "x-gateway-deadline is not a number of seconds such as 2.5")
            context.timeout_seconds = float(deadline)

    async def _identify(self, context: RequestContext, scope: Scope) -> None:
        """Find out who sends a request, and count it against the caller's rate limit. Raises GatewayError."""
        rate: Rate | None
        if self.verifier is None:
            context.caller, rate = self.anonymous.identify(scope.get("client"), context.headers)
            context.sender = self.anonymous.sender
        else:
            credentials = [name for name, _ in scope["headers"] if name in _CREDENTIALS]
            if len(credentials) > len(set(credentials)):
                # Servers disagree on which one counts.
                raise Unauthenticated("A credential is sent twice; send one")
            caller = await self.verifier.identify(context.headers)
            # Before the rate limit, so that the log tells who sends too many requests.
            context.record.caller, context.access = caller.name, caller.access
            context.caller, context.sender, rate = caller.name, caller, caller.rate
        self.current_caller.set(context.caller)
        if rate is not None:
            self.rate_limits.take(context.caller, rate)
            context.take_calls = partial(self.rate_limits.take_calls, context.caller, rate)

    def _key(self, context: RequestContext, body: bytes) -> CacheKey:
        """Digest the request: what clients send may be personal and must not be kept as long as a response."""
        digest = blake2b(body, key=self.digest_key, digest_size=16)
        content_type = context.headers.get(b"content-type", "")
        if content_type != MediaType.JSON:
            digest.update(content_type.encode("latin-1"))
        manifest = self.runner.documents.manifest
        return (context.media_type, context.is_post, context.access, manifest), digest.digest()

    async def _send(self, context: RequestContext, response: GraphQLResponse, send: Send) -> GraphQLResponse:
        """Send a response, or an error where its caller has not read too much of others; gives what was sent."""
        headers = [_VARY if self.verifier is None else _VARY_BY_CALLER, *context.record.ids.headers()]
        if context.is_post:
            headers.append(_NO_STORE)
        else:
            await response.prepare_etag()
            # Caches that serve several callers may keep a response only where all callers are anonymous.
            headers += cache_headers(response, self.clock(), shared=self.verifier is None)
            if is_not_modified(response, context.headers):
                await send({"type": "http.response.start", "status": 304, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return response
        offered = ENCODINGS_OF_BROWSERS if b"sec-fetch-site" in context.headers else ENCODINGS
        encoding = preferred_encoding(context.headers.get(b"accept-encoding"), offered)
        size = response.size
        if size < _LARGE_RESPONSE:
            await response.send(send, encoding, headers)
            return response
        # Nothing is compressed beside it.
        in_memory = size // 2 if encoding is Encoding.IDENTITY else size
        try:
            with self.unsent_bytes.sending(context.caller, response, in_memory):
                await response.send(send, encoding, headers)
        except Overloaded as error:
            return await self._send(context, _rejection(context, http_error(error)), send)
        return response


class SchemaEndpoint:
    """Answers `/schema.graphql` with the schema in its own language, so that tools need no introspection."""

    def __init__(self, graphql: GraphQLEndpoint, sdl: str) -> None:
        self._graphql = graphql
        self._response = GraphQLResponse(200, MediaType.SDL, [sdl.encode()], fresh_until=inf)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        await self._graphql.send_schema(self._response, scope, receive, send)


def _rejection(context: RequestContext, error: HttpError) -> GraphQLResponse:
    record = context.record
    record.rejection, record.codes = error.error.code, (error.error.code,)
    return error_response(error, context.media_type, record.ids.request_id)


def _by_name(raw: Collection[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """Join headers by name; several lines of one name are one list (RFC 9110, 5.3)."""
    headers = {name: value.decode("latin-1") for name, value in raw}
    if len(headers) < len(raw):
        for name in headers:
            headers[name] = ", ".join(value.decode("latin-1") for key, value in raw if key == name)
    return headers
