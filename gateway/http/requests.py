"""GraphQL requests as HTTP carries them (GraphQL over HTTP, section 5)."""

from functools import lru_cache
from typing import Any

import orjson
from starlette.datastructures import QueryParams
from starlette.types import Receive

from gateway.execution.operation import Operation

_LARGEST_BODY = 1024 * 1024


class RequestRefusedError(Exception):
    """The request is no GraphQL request; the message says why without quoting it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def read_post(content_type: str, body: bytes) -> Operation:
    """The operation in a JSON body. Raises RequestRefusedError."""
    if not _is_json(content_type):
        raise RequestRefusedError(415, "Send the request as application/json in UTF-8")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RequestRefusedError(400, "The body is not JSON") from None
    if not isinstance(found, dict):
        raise RequestRefusedError(400, "The body is not a JSON object; batches are not taken")
    return _operation(found)


@lru_cache(maxsize=256)
def _is_json(content_type: str) -> bool:
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = {
        value.strip('"') for name, _, value in (each.partition("=") for each in parameters) if name == "charset"
    }
    return kind == "application/json" and charsets <= {"utf-8"}


def read_get(parameters: QueryParams) -> Operation:
    """The operation in a URL's parameters. Raises RequestRefusedError."""
    found: dict[str, Any] = {name: parameters[name] for name in ("query", "operationName") if name in parameters}
    for name in ("variables", "extensions"):
        if parameters.get(name):
            try:
                found[name] = orjson.loads(parameters[name])
            except orjson.JSONDecodeError:
                raise RequestRefusedError(400, f"The {name} parameter is not JSON") from None
    return _operation(found)


async def read_body(receive: Receive) -> bytes:
    """The body of a request. Raises RequestRefusedError where it is too large or breaks off."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestRefusedError(400, "The body ended before it was whole")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > _LARGEST_BODY:
            raise RequestRefusedError(413, f"The body is larger than {_LARGEST_BODY} bytes")
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _operation(found: dict[str, Any]) -> Operation:
    query, name = found.get("query"), found.get("operationName")
    variables, extensions = found.get("variables"), found.get("extensions")
    if not isinstance(query, str) or not query.strip():
        raise RequestRefusedError(400, "The request holds no query; send a GraphQL document as the string `query`")
    if not isinstance(name, str | None):
        raise RequestRefusedError(400, "operationName is not a string")
    if not isinstance(variables, dict | None):
        raise RequestRefusedError(400, "variables is not an object")
    if not isinstance(extensions, dict | None):
        raise RequestRefusedError(400, "extensions is not an object")
    return Operation(query, name or None, variables)
