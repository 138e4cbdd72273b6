"""GraphQL requests as HTTP carries them (GraphQL over HTTP, section 5)."""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import Receive

from gateway.http.error_responses import HttpError

# A client that is still sending reads no response, so a body is read up to this multiple of its limit and then refused.
_READ_FACTOR = 16
_CLOSE = ((b"connection", b"close"),)
_PARAMETERS = {"query": str, "operationName": str, "documentId": str, "variables": dict, "extensions": dict}
_MAX_PARAMETERS = 32
_MAX_LENGTH_DIGITS = 20
_MAY_EXCEED_64_BITS = re.compile(rb"(?<![.\d])\d{19}")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """A GraphQL request: the document or a name of it, which of its operations to run, and the variables.

    `document_id` is the id of a trusted document, `sha256` the hash in Apollo's `persistedQuery`.
    """

    query: str | None = None
    operation_name: str | None = None
    variables: dict[str, Any] | None = None
    document_id: str | None = None
    sha256: str | None = None


class RequestReader:
    """Reads requests within limits: a body's size in bytes, the depth of its JSON, an integer's length in digits."""

    def __init__(self, body_bytes: int = 65_536, json_depth: int = 16, integer_digits: int = 20) -> None:
        self._body_bytes = body_bytes
        self._json_depth = json_depth
        self._integer_digits = integer_digits
        self._long_number = re.compile(rb"(?<![.\d])\d{%d}" % (integer_digits + 1))

    async def body(self, receive: Receive, headers: Mapping[bytes, str]) -> bytes:
        """Read the body. Raises HttpError if it is too large or incomplete."""
        limit = self._body_bytes
        announced = headers.get(b"content-length", "0")
        if len(announced) > _MAX_LENGTH_DIGITS or (announced.isdecimal() and int(announced) > limit * _READ_FACTOR):
            raise self._too_large(limit * _READ_FACTOR)
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise HttpError(400, "The body ended before it was whole")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size <= limit:
                chunks.append(chunk)
            elif size > limit * _READ_FACTOR:
                raise self._too_large(size)
            if not message.get("more_body", False):
                if size > limit:
                    raise self._too_large(size)
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def post(self, headers: Mapping[bytes, str], body: bytes) -> GraphQLRequest:
        """Parse the request in a JSON body. Raises HttpError."""
        if not _is_json(headers.get(b"content-type", "")):
            raise HttpError(415, "Send the request as application/json in UTF-8")
        if headers.get(b"content-encoding", "identity").strip().lower() != "identity":
            raise HttpError(415, "Send the request without a content encoding")
        # RFC 8259, 8.1: a reader may ignore a byte order mark, which .NET's writers like to send.
        found = self._loaded(body.removeprefix(BOM_UTF8), "The body")
        if not isinstance(found, dict):
            raise HttpError(400, "The body is not a JSON object; batches are not taken")
        return _request(found)

    def get(self, query_string: bytes) -> GraphQLRequest:
        """Parse the request in a URL's parameters. Raises HttpError."""
        try:
            pairs = parse_qsl(
                query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
            )
        except ValueError:
            raise HttpError(400, "The URL's parameters are too many, or not UTF-8 in percent-encoding") from None
        ours = [(name, value) for name, value in pairs if name in _PARAMETERS]
        found: dict[str, Any] = dict(ours)
        if len(found) < len(ours):
            raise HttpError(400, "A parameter of the URL is given twice")
        for name in ("variables", "extensions"):
            text = found.pop(name, "")
            if text:
                found[name] = self._loaded(text.encode(), f"The {name} parameter")
        return _request(found)

    def _loaded(self, text: bytes, what: str) -> Any:
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise HttpError(400, f"{what} is not JSON in UTF-8") from None
        # Deep JSON has many brackets, and most requests have few, even with those in strings.
        if text.count(b"{") + text.count(b"[") > self._json_depth:
            deepest = _depth(found)
            if deepest > self._json_depth:
                raise HttpError(400, f"{what} is nested {deepest} deep; the limit is {self._json_depth}")
        if self._long_number.search(text) and self._long_number.search(_STRING.sub(b'""', text)):
            raise HttpError(
                400, f"{what} holds an integer of more than {self._integer_digits} digits, which is the limit"
            )
        # orjson makes inexact floats of integers of more than 64 bits, which an ID may be.
        if _MAY_EXCEED_64_BITS.search(text):
            return json.loads(text)
        return found

    def _too_large(self, size: int) -> HttpError:
        limit = self._body_bytes
        return HttpError(413, f"The body has {size} bytes or more; the limit is {limit}", _CLOSE)


def _is_json(content_type: str) -> bool:
    if content_type == "application/json":
        return True
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = {
        value.strip('"') for name, _, value in (each.partition("=") for each in parameters) if name == "charset"
    }
    return kind == "application/json" and charsets <= {"utf-8", "utf8"}


def _depth(found: Any) -> int:
    """How deep arrays and objects are nested. Without recursion, since a client chooses the depth."""
    depth, level = 0, [found]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
    return depth


def _request(found: dict[str, Any]) -> GraphQLRequest:
    for name, kind in _PARAMETERS.items():
        if not isinstance(found.get(name), kind | None):
            raise HttpError(400, f"{name} is not {'a string' if kind is str else 'an object'}")
    query, document_id = found.get("query"), found.get("documentId")
    sha256 = _persisted((found.get("extensions") or {}).get("persistedQuery"))
    if not (query and query.strip()):
        if not document_id and not sha256:
            raise HttpError(400, "The request holds no query; send a GraphQL document as the string `query`")
        query = None
    return GraphQLRequest(
        query, found.get("operationName") or None, found.get("variables"), document_id or None, sha256
    )


def _persisted(extension: object) -> str | None:
    """The hash in Apollo's extension `persistedQuery`, which its clients send with or without the document."""
    match extension:
        case None:
            return None
        case {"version": 1, "sha256Hash": str(found)}:
            if not re.fullmatch(r"[0-9a-fA-F]{64}", found):
                raise HttpError(400, "sha256Hash is not 64 hexadecimal digits")
            return found.lower()
        case _:
            raise HttpError(400, "persistedQuery is not an object with version 1 and a string sha256Hash")
