"""Callers: their credentials, what they may see, their rate, and what verifies a request's credentials."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Protocol

from gateway.domain.errors import BadUserInput, Unauthenticated
from gateway.domain.ids import NodeType, is_usable, parse_node_id
from gateway.domain.models import Access, CareUnitKey

_BEARER = re.compile(r"bearer +([^\x00-\x20\x7f,]+)", re.IGNORECASE)
_SPACE = " \t"


def bearer(headers: Mapping[bytes, str]) -> str | None:
    """The bearer credential of a request, None without the header. Raises Unauthenticated for any other scheme."""
    given = headers.get(b"authorization")
    if given is None:
        return None
    found = _BEARER.fullmatch(given.strip(_SPACE))
    if found is None:
        raise Unauthenticated("`Authorization` must be `Bearer`, a space and one credential")
    return found[1]


def api_key(headers: Mapping[bytes, str]) -> str:
    """The API key of a request. Raises Unauthenticated if there is none, or two that differ."""
    keys = {key for key in (headers.get(b"x-api-key", "").strip(_SPACE), bearer(headers)) if key}
    if not keys:
        raise Unauthenticated("Send an API key as `x-api-key`, or as `Authorization: Bearer`")
    if len(keys) > 1:
        raise Unauthenticated("`x-api-key` and `Authorization` carry different keys; send one of them")
    return keys.pop()


is_emr_code = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}").fullmatch
"""Whether a text can be the code of an EHR."""


def care_units(texts: Iterable[str]) -> frozenset[CareUnitKey] | None:
    """The care units of these node ids, or of an EHR's code, `/` and Leyr's id; None if a text is neither."""
    found = set()
    for text in texts:
        try:
            node = parse_node_id(text)
        except BadUserInput:
            # Base64 may contain `/` too, so a node id is tried first.
            emr, _, leyr_id = text.partition("/")
            if not is_emr_code(emr) or not is_usable(leyr_id):
                return None
            found.add(CareUnitKey(emr, leyr_id))
        else:
            if node.type is not NodeType.CARE_UNIT:
                return None
            found.add(node.care_unit)
    return frozenset(found)


class AuthSettingsError(Exception):
    """The settings of callers are wrong; the message says where and what to write, and never quotes a value."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second, the `burst` that may come at once after a pause, and the upstream calls that they may take.

    Raises ValueError where one is too small.
    """

    per_second: float
    burst: int
    calls_per_minute: int = 1_000

    def __post_init__(self) -> None:
        if not 0 < self.per_second < inf or self.burst < 1 or self.calls_per_minute < 1:
            raise ValueError("a rate is above 0 requests a second, with a burst and calls of at least 1")


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request; `name` identifies it and holds nothing personal."""

    name: str
    access: Access
    rate: Rate


class CredentialVerifier(Protocol):
    """Verifies the credentials of requests."""

    async def identify(self, headers: Mapping[bytes, str]) -> Caller:
        """The caller that sent these headers, with names in lower case and values decoded from Latin-1.

        Raises Unauthenticated and Forbidden, neither of which quotes a credential, and KeysUnavailableError if the
        credential cannot be verified now.
        """
        ...

    async def close(self) -> None:
        """Close connections, if there are any."""
        ...
