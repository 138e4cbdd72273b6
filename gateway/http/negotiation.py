"""Content negotiation (RFC 9110, 12.5): the media type and the content coding that a client prefers; compression."""

import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from gateway.domain.personal_numbers import may_be_cached

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_WEIGHT = re.compile(r"\d{1,3}(\.\d{0,9})?|\.\d{1,9}", re.ASCII)
MIN_COMPRESSED_BYTES = 1024
"""A smaller body takes one packet in any case, so it is not compressed."""
THREAD_BYTES = 256 * 1024
"""Compressing so many bytes takes too long for the event loop."""
_ZSTD_LEVEL = 3
_GZIP_LEVEL = 4
_LONGEST_CACHED_HEADER = 512
_GZIP_HEADER = 16 + zlib.MAX_WBITS

Offered = TypeVar("Offered")
Chosen = TypeVar("Chosen")


class MediaType(StrEnum):
    """The media types of GraphQL responses, of GraphiQL, and of the schema, whose language has no registered one."""

    JSON = "application/json"
    GRAPHQL_RESPONSE = "application/graphql-response+json"
    HTML = "text/html"
    SDL = "text/plain"


class Encoding(StrEnum):
    """Content codings that are offered."""

    ZSTD = "zstd"
    GZIP = "gzip"
    IDENTITY = "identity"


# Some libraries, such as those of Node.js 20, ask for zstd, which they pass on from elsewhere, and cannot read it.
ENCODINGS = (Encoding.GZIP, Encoding.ZSTD, Encoding.IDENTITY)
"""The content codings for programs, the first of equals first."""
ENCODINGS_OF_BROWSERS = (Encoding.ZSTD, Encoding.GZIP, Encoding.IDENTITY)
# RFC 9110, 8.4.1.3: x-gzip is the same as gzip.
_ENCODING_NAMES = {Encoding.ZSTD: ("zstd",), Encoding.GZIP: ("gzip", "x-gzip"), Encoding.IDENTITY: ("identity",)}


class _NotCacheableError(Exception):
    """A header may hold something personal, so the cache must not keep it, not even as a key."""


def _cached(negotiate: Callable[[str | None, Offered], Chosen]) -> Callable[[str | None, Offered], Chosen]:
    """Cache the result for each header, since clients send the same few headers with every request."""

    @lru_cache(maxsize=256)
    def cached(header: str | None, offered: Offered) -> Chosen:
        if header is not None and not may_be_cached(header):
            raise _NotCacheableError
        return negotiate(header, offered)

    def negotiated(header: str | None, offered: Offered) -> Chosen:
        if header is not None and len(header) > _LONGEST_CACHED_HEADER:
            return negotiate(header, offered)
        try:
            return cached(header, offered)
        except _NotCacheableError:
            return negotiate(header, offered)

    return negotiated


@_cached
def preferred_media_type(accept: str | None, offered: tuple[MediaType, ...]) -> MediaType | None:
    """Choose the offered media type that the client prefers, the first of equals; None if it accepts none.

    Without the header the client accepts any.
    """
    if accept is None or not accept.strip():
        return offered[0]
    # Of equal ranges the first counts.
    # Some clients, such as Java's, write a lone asterisk.
    weights = {"*/*" if name[:2] in {"*", "*/"} else name: weight for name, weight in reversed([*_weighted(accept)])}

    def weight_of(media_type: MediaType) -> float:
        """The weight of the range that matches most closely (RFC 9110, 12.5.1); 0 if none does."""
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        return next((weights[each] for each in ranges if each in weights), 0.0)

    best = max(offered, key=weight_of)
    return best if weight_of(best) > 0 else None


@_cached
def preferred_encoding(accept_encoding: str | None, offered: tuple[Encoding, ...]) -> Encoding:
    """Choose the offered content coding that the client prefers, the first of equals.

    A client that refuses every coding, identity too, gets identity: that is worth more to it than an error.
    """
    weights = dict(_weighted(accept_encoding or ""))
    any_weight = weights.get("*", 0.0)
    offers = {
        encoding: max((weights[name] for name in _ENCODING_NAMES[encoding] if name in weights), default=any_weight)
        for encoding in offered
        if encoding is not Encoding.IDENTITY
    }
    best = max(offers, key=lambda encoding: offers[encoding])
    return best if offers[best] > 0 and offers[best] >= weights.get(Encoding.IDENTITY, 0) else Encoding.IDENTITY


def _weighted(header: str) -> Iterator[tuple[str, float]]:
    """Split a header such as Accept-Encoding into its elements, in lower case, with their weights."""
    for part in header.lower().split(","):
        element, *parameters = (each.strip() for each in part.split(";"))
        if element:
            named = (each.partition("=") for each in parameters)
            weight = next((value for name, _, value in named if name.strip() == "q"), "1")
            yield element, min(float(weight), 1.0) if _WEIGHT.fullmatch(weight.strip()) else 0.0


def compressed(pieces: Sequence[bytes], encoding: Encoding) -> bytes:
    """Compress the pieces as one body. Timeslots repeat themselves: zstd makes a hundredth of them in a millisecond."""
    is_zstd = encoding is Encoding.ZSTD
    if is_zstd and sum(map(len, pieces)) < THREAD_BYTES:
        return zstd.compress(b"".join(pieces), level=_ZSTD_LEVEL)
    # Piece by piece, since a copy of a large body would take as much memory again.
    compressor = zstd.ZstdCompressor(_ZSTD_LEVEL) if is_zstd else zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_HEADER)
    return b"".join((*(compressor.compress(piece) for piece in pieces), compressor.flush()))
