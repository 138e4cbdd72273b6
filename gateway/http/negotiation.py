"""Which of the media types that can be answered a client prefers (RFC 9110, 12.5.1)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from gateway.domain.personal_numbers import may_be_cached


class MediaType(StrEnum):
    """What `/graphql` answers with."""

    JSON = "application/json"
    GRAPHQL_RESPONSE = "application/graphql-response+json"
    HTML = "text/html"


@dataclass(frozen=True, slots=True)
class _Range:
    kind: str
    subtype: str
    quality: float

    def specificity(self, media_type: str) -> int:
        """0 where the range leaves the type out, else more for a closer match."""
        kind, _, subtype = media_type.partition("/")
        if self.kind == "*":
            return 1
        if self.kind != kind:
            return 0
        return 2 if self.subtype == "*" else 3 * (self.subtype == subtype)


def preferred(accept: str | None, offered: tuple[MediaType, ...]) -> MediaType | None:
    """The offered type that the client likes best, the first of equals; None where it takes none.

    Without the header the client takes anything.
    """
    try:
        return _remembered(accept, offered)
    except UnfitForMemoryError:
        return _preferred(accept, offered)


class UnfitForMemoryError(Exception):
    """A header may say something personal, so it is not to be remembered, not even as a key."""


# Clients send the same few headers with every request.
@lru_cache(maxsize=256)
def _remembered(accept: str | None, offered: tuple[MediaType, ...]) -> MediaType | None:
    if accept is not None and not may_be_cached(accept):
        raise UnfitForMemoryError
    return _preferred(accept, offered)


def _preferred(accept: str | None, offered: tuple[MediaType, ...]) -> MediaType | None:
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [found for part in accept.split(",") if (found := _range(part)) is not None]
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    return best if _quality(best, ranges) > 0 else None


def weights(header: str) -> dict[str, float]:
    """The tokens of a header such as Accept-Encoding with their weights, in lower case."""
    found: dict[str, float] = {}
    for part in header.split(","):
        token, *parameters = (each.strip().lower() for each in part.split(";"))
        if token:
            found[token] = _weight_of(parameters)
    return found


def _weight_of(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return _weight(value)
    return 1.0


def _quality(media_type: str, ranges: Sequence[_Range]) -> float:
    matching = [each for each in ranges if each.specificity(media_type)]
    return max(matching, key=lambda each: each.specificity(media_type)).quality if matching else 0.0


def _range(text: str) -> _Range | None:
    media_range, *parameters = (part.strip().lower() for part in text.split(";"))
    kind, slash, subtype = media_range.partition("/")
    if not slash:
        return None
    return _Range(kind, subtype, _weight_of(parameters))


def _weight(text: str) -> float:
    return min(float(text), 1.0) if _WEIGHT.fullmatch(text.strip()) else 0.0


_WEIGHT = re.compile(r"\d{1,3}(\.\d{0,9})?|\.\d{1,9}", re.ASCII)
