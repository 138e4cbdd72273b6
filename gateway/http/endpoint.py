"""`/graphql`: GraphQL over HTTP, and GraphiQL for browsers."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from gateway.domain.access import EVERYTHING, Access
from gateway.domain.errors import BadUserInput
from gateway.execution.errors import extensions_of
from gateway.execution.operation import Engine, MutationNotAllowedError, Operation
from gateway.http.answers import Answer, FinishedAnswers
from gateway.http.encoding import preferred_encoding
from gateway.http.explanation import explanation
from gateway.http.explorer import Explorer
from gateway.http.negotiation import MediaType, preferred
from gateway.http.requests import RequestRefusedError, read_body, read_get, read_post
from gateway.schema.context import AnswerLimits, Context
from gateway.schema.loaders import Loaders
from gateway.sources.profiles import Profiles
from gateway.sources.reading import Reading

_ANSWERS = (MediaType.JSON, MediaType.GRAPHQL_RESPONSE)
_ANSWERS_AND_PAGE = (*_ANSWERS, MediaType.HTML)
_LONGEST_KEPT = 16 * 1024
_WANTS_THE_TRUTH_NOW = re.compile(r"(^|[,\s])(no-cache|no-store|max-age=0)($|[,;\s])", re.ASCII | re.IGNORECASE)


class _Asked(NamedTuple):
    """What a request's head says of the answer that it wants."""

    media_type: MediaType
    queries_only: bool
    truth_now: bool
    explain: bool
    access: Access


class GraphQLEndpoint:
    """Answers GraphQL requests; each gets its own loaders and its own idea of now."""

    def __init__(  # noqa: PLR0913 # the composition root hands in what a request needs, each by name
        self,
        engine: Engine,
        *,
        profiles: Profiles,
        loaders: Callable[[Reading], Loaders],
        finished: FinishedAnswers,
        widest_window: timedelta,
        limits: AnswerLimits,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        new_reference: Callable[[], str],
        explorer: Explorer | None,
    ) -> None:
        self._engine = engine
        self._profiles = profiles
        self._loaders = loaders
        self._finished = finished
        self._widest_window = widest_window
        self._limits = limits
        self._now = now
        self._clock = clock
        self._new_reference = new_reference
        self._explorer = explorer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application: answers with the media type that the client prefers."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        accept = headers.get(b"accept")
        is_post = scope["method"] == "POST"
        if self._explorer and not is_post and preferred(accept, _ANSWERS_AND_PAGE) is MediaType.HTML:
            await self._explorer.page()(scope, receive, send)
            return
        answer = await self._answer(scope, receive, headers, preferred(accept, _ANSWERS))
        await answer.send(send, preferred_encoding(headers.get(b"accept-encoding")))

    async def _answer(
        self, scope: Scope, receive: Receive, headers: dict[bytes, str], media_type: MediaType | None
    ) -> Answer:
        reference = self._new_reference()
        if media_type is None:
            return _refusal(406, f"Accept {' or '.join(_ANSWERS)}", MediaType.JSON, reference)
        asked = _Asked(
            media_type,
            queries_only=scope["method"] != "POST",
            truth_now=_WANTS_THE_TRUTH_NOW.search(headers.get(b"cache-control", "")) is not None,
            explain=headers.get(b"x-gateway-explain", "").strip() == "1",
            access=EVERYTHING,
        )
        try:
            content_type = headers.get(b"content-type", "")
            body = scope["query_string"] if asked.queries_only else await read_body(receive)
            key = (asked._replace(truth_now=False), content_type, body)
            found = None if asked.truth_now or asked.explain else self._finished.find(key)
            if found is not None:
                return found
            operation = read_get(QueryParams(body)) if asked.queries_only else read_post(content_type, body)
        except RequestRefusedError as error:
            return _refusal(error.status, error.message, media_type, reference)
        return await self._executed(operation, asked, key, reference)

    async def _executed(
        self, operation: Operation, asked: _Asked, key: tuple[_Asked, str, bytes], reference: str
    ) -> Answer:
        started = self._clock()
        reading = Reading(started, started) if asked.truth_now else Reading(started)
        loaders = self._loaders(reading)
        # Whole seconds: what an EHR makes of fractions is unknown, and no booking page needs them.
        context = Context(
            loaders,
            self._profiles,
            self._now().replace(microsecond=0),
            self._widest_window,
            asked.access,
            self._limits,
        )
        try:
            outcome = await self._engine.run(operation, context, reference, queries_only=asked.queries_only)
        except MutationNotAllowedError:
            return _refusal(405, "Send mutations by POST", asked.media_type, reference, [(b"allow", b"POST")])
        finally:
            loaders.close()
        refused = outcome.data is None and asked.media_type is MediaType.GRAPHQL_RESPONSE
        extensions = explanation(reading, self._clock()) if asked.explain and outcome.data is not None else None
        answer = Answer(400 if refused else 200, asked.media_type, outcome.pieces(extensions))
        if reading.reads and not outcome.errors and not asked.explain and len(key[-1]) <= _LONGEST_KEPT:
            self._finished.offer(key, answer, reading.fresh_until)
        return answer


def _refusal(
    status: int,
    message: str,
    media_type: MediaType,
    reference: str,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> Answer:
    error = {"message": message, "extensions": extensions_of(BadUserInput(message), reference)}
    return Answer(status, media_type, [orjson.dumps({"errors": [error]})], headers or ())
