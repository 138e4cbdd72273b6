"""GraphQL requests as HTTP carries them (GraphQL over HTTP, section 5)."""

from typing import Any

import orjson
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request

from gateway.execution.operation import Operation

_LARGEST_BODY = 1024 * 1024


class RequestRefusedError(Exception):
    """The request is no GraphQL request; the message says why without quoting it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


async def read_post(request: Request) -> Operation:
    """The operation in a JSON body. Raises RequestRefusedError."""
    kind, *parameters = (part.strip().lower() for part in request.headers.get("content-type", "").split(";"))
    charsets = {
        value.strip('"') for name, _, value in (each.partition("=") for each in parameters) if name == "charset"
    }
    if kind != "application/json" or not charsets <= {"utf-8"}:
        raise RequestRefusedError(415, "Send the request as application/json in UTF-8")
    try:
        found = orjson.loads(await _read_body(request))
    except orjson.JSONDecodeError:
        raise RequestRefusedError(400, "The body is not JSON") from None
    if not isinstance(found, dict):
        raise RequestRefusedError(400, "The body is not a JSON object; batches are not taken")
    return _operation(found)


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


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST_BODY:
                raise RequestRefusedError(413, f"The body is larger than {_LARGEST_BODY} bytes")
    except ClientDisconnect:
        raise RequestRefusedError(400, "The body ended before it was whole") from None
    return bytes(body)


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
