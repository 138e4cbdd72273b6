"""`/graphql`: GraphQL over HTTP, and GraphiQL for browsers."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.domain.errors import BadUserInput
from gateway.execution.errors import extensions_of
from gateway.execution.operation import Engine, MutationNotAllowedError, Operation
from gateway.http.explorer import Explorer
from gateway.http.negotiation import MediaType, preferred
from gateway.http.requests import RequestRefusedError, read_get, read_post
from gateway.schema.context import Context
from gateway.schema.loaders import Loaders
from gateway.sources.profiles import Profiles

_ANSWERS = (MediaType.JSON, MediaType.GRAPHQL_RESPONSE)


class GraphQLEndpoint:
    """Answers GraphQL requests; each gets its own loaders and its own idea of now."""

    def __init__(
        self,
        engine: Engine,
        *,
        profiles: Profiles,
        loaders: Callable[[], Loaders],
        widest_window: timedelta,
        now: Callable[[], datetime],
        new_reference: Callable[[], str],
        explorer: Explorer | None,
    ) -> None:
        self._engine = engine
        self._profiles = profiles
        self._loaders = loaders
        self._widest_window = widest_window
        self._now = now
        self._new_reference = new_reference
        self._explorer = explorer

    async def handle(self, request: Request) -> Response:
        """Answer with the media type that the client prefers."""
        accept = request.headers.get("accept")
        offers_page = self._explorer is not None and request.method in {"GET", "HEAD"}
        if self._explorer and offers_page and preferred(accept, (*_ANSWERS, MediaType.HTML)) is MediaType.HTML:
            return self._explorer.page()
        media_type = preferred(accept, _ANSWERS)
        reference = self._new_reference()
        if media_type is None:
            return _refusal(406, f"Accept {' or '.join(_ANSWERS)}", MediaType.JSON, reference)
        try:
            operation = read_get(request.query_params) if request.method != "POST" else await read_post(request)
        except RequestRefusedError as error:
            return _refusal(error.status, error.message, media_type, reference)
        return await self._answer(operation, media_type, reference, queries_only=request.method != "POST")

    async def _answer(
        self, operation: Operation, media_type: MediaType, reference: str, *, queries_only: bool
    ) -> Response:
        # Whole seconds: what an EHR makes of fractions is unknown, and no booking page needs them.
        now = self._now().replace(microsecond=0)
        loaders = self._loaders()
        context = Context(loaders, self._profiles, now, self._widest_window)
        try:
            outcome = await self._engine.run(operation, context, reference, queries_only=queries_only)
        except MutationNotAllowedError:
            return _refusal(405, "Send mutations by POST", media_type, reference, {"allow": "POST"})
        finally:
            loaders.close()
        refused = not outcome.executed and media_type is MediaType.GRAPHQL_RESPONSE
        return _answer(outcome.body, media_type, 400 if refused else 200)


def _refusal(
    status: int, message: str, media_type: MediaType, reference: str, headers: dict[str, str] | None = None
) -> Response:
    error = {"message": message, "extensions": extensions_of(BadUserInput(message), reference)}
    return _answer({"errors": [error]}, media_type, status, headers)


def _answer(
    body: dict[str, Any], media_type: MediaType, status: int, headers: dict[str, str] | None = None
) -> Response:
    fixed = {"content-type": f"{media_type}; charset=utf-8", "cache-control": "no-store", "vary": "accept"}
    return Response(orjson.dumps(body), status, {**fixed, **(headers or {})})
