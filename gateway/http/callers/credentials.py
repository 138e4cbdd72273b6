"""Where a request carries its credential: `Authorization: Bearer` (RFC 6750, 2.1) or `x-api-key`."""

import re
from collections.abc import Mapping

from gateway.domain.errors import Unauthenticated

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
