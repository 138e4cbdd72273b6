"""A caller: the credential that names it, what it may see, and how often it may ask."""

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
    """What follows `Bearer`; None without the header. Raises Unauthenticated for any other scheme or form."""
    given = headers.get(b"authorization")
    if given is None:
        return None
    found = _BEARER.fullmatch(given.strip(_SPACE))
    if found is None:
        raise Unauthenticated("`Authorization` must be `Bearer`, a space and one credential")
    return found[1]


def api_key(headers: Mapping[bytes, str]) -> str:
    """The one API key of a request. Raises Unauthenticated where there is none, or two that differ."""
    own, borne = headers.get(b"x-api-key"), bearer(headers)
    keys = {key for key in (None if own is None else own.strip(_SPACE), borne) if key}
    if not keys:
        raise Unauthenticated("Send an API key as `x-api-key`, or as `Authorization: Bearer`")
    if len(keys) > 1:
        raise Unauthenticated("`x-api-key` and `Authorization` carry different keys; send one of them")
    return keys.pop()


_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def is_emr_code(text: str) -> bool:
    """Whether a text can be the code of an EHR."""
    return _CODE.fullmatch(text) is not None


def care_unit(text: str) -> CareUnitKey | None:
    """The care unit that a node id names, or an EHR's code, `/` and Leyr's id; None where it is neither."""
    try:
        node = parse_node_id(text)
    except BadUserInput:
        # Base64 knows `/` too, so a text is tried as a node id first.
        emr, _, leyr_id = text.partition("/")
        return CareUnitKey(emr, leyr_id) if is_emr_code(emr) and is_usable(leyr_id) else None
    return node.care_unit if node.type is NodeType.CARE_UNIT else None


def care_units(texts: Iterable[str]) -> frozenset[CareUnitKey] | None:
    """The care units that the texts name; None where one of them names none."""
    found = [care_unit(text) for text in texts]
    keys = frozenset(key for key in found if key is not None)
    return None if None in found else keys


class AuthSettingsError(Exception):
    """The configuration of callers is wrong; the message says where and what to write, and never quotes a value."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests a second, and `burst` of them at once after a pause. Raises ValueError for less than that."""

    per_second: float
    burst: int

    def __post_init__(self) -> None:
        if not 0 < self.per_second < inf or self.burst < 1:
            raise ValueError("a rate is above 0 requests a second, with a burst of at least 1")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    `name` is the same for all requests of a caller, different for each caller, and holds nothing personal.
    """

    name: str
    access: Access
    rate: Rate


class CredentialVerifier(Protocol):
    """Tells callers by the credentials that they send."""

    async def identify(self, headers: Mapping[bytes, str]) -> Caller:
        """Who sent these headers, their names in lower case and their values decoded from Latin-1.

        Raises Unauthenticated and Forbidden, neither of which quotes a credential, and KeysUnavailableError where the
        credential could not be judged.
        """
        ...

    async def close(self) -> None:
        """Give back what is held open."""
        ...


_CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key"})


class Authenticator:
    """Finds out who sends a request; without a verifier everybody is anonymous."""

    def __init__(self, verifier: CredentialVerifier | None) -> None:
        self._verifier = verifier

    @property
    def vary(self) -> bytes:
        """The headers of a request that its caller depends on, each after a comma."""
        return b"" if self._verifier is None else b", authorization, x-api-key"

    async def caller(self, raw: Iterable[tuple[bytes, bytes]], headers: Mapping[bytes, str]) -> Caller | None:
        """Who sends a request; None for an anonymous caller. Raises what `CredentialVerifier.identify` raises.

        `raw` are the headers as they came: one that comes twice could be one caller's here and another's elsewhere.
        """
        if self._verifier is None:
            return None
        credentials = [name for name, _ in raw if name in _CREDENTIAL_HEADERS]
        if len(credentials) > len(set(credentials)):
            raise Unauthenticated("A credential is sent twice; send one")
        return await self._verifier.identify(headers)

    async def close(self) -> None:
        """Close what the verifier holds open."""
        if self._verifier is not None:
            await self._verifier.close()
