"""Compression of answers: free times repeat themselves, so zstd makes a hundredth of them in a millisecond."""

import sys
import zlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

from gateway.domain.personal_numbers import may_be_cached
from gateway.http.negotiation import UnfitForMemoryError, weights

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_SMALLEST = 1024
_ZSTD_LEVEL = 3
_GZIP_LEVEL = 4
_GZIP_HEADER = 16 + zlib.MAX_WBITS
_WORTH_A_THREAD = 256 * 1024


class Encoding(StrEnum):
    """Content encodings, the better one first."""

    ZSTD = "zstd"
    GZIP = "gzip"
    IDENTITY = "identity"


# RFC 9110, 8.4.1.3: x-gzip is the same as gzip.
_NAMES = {Encoding.ZSTD: ("zstd",), Encoding.GZIP: ("gzip", "x-gzip")}


def preferred_encoding(accept_encoding: str | None) -> Encoding:
    """The encoding that a client likes best, the better one of equals (RFC 9110, 12.5.3).

    Whoever refuses even identity gets it all the same: an answer is worth more than a refusal.
    """
    if accept_encoding is None:
        return Encoding.IDENTITY
    try:
        return _remembered(accept_encoding)
    except UnfitForMemoryError:
        return _preferred(accept_encoding)


@lru_cache(maxsize=256)
def _remembered(accept_encoding: str) -> Encoding:
    if not may_be_cached(accept_encoding):
        raise UnfitForMemoryError
    return _preferred(accept_encoding)


def _preferred(accept_encoding: str) -> Encoding:
    found = weights(accept_encoding)
    offered = {encoding: _weight(names, found) for encoding, names in _NAMES.items()}
    best = max(offered, key=lambda each: offered[each])
    return best if offered[best] > 0 and offered[best] >= found.get(Encoding.IDENTITY, 0) else Encoding.IDENTITY


def _weight(names: Sequence[str], found: Mapping[str, float]) -> float:
    return max((found[name] for name in names if name in found), default=found.get("*", 0.0))


def is_worth_it(size: int) -> bool:
    """Whether so many bytes are compressed at all: a packet is no shorter than it is."""
    return size >= _SMALLEST


def takes_long(size: int) -> bool:
    """Whether other requests must not wait while so many bytes are compressed."""
    return size >= _WORTH_A_THREAD


def compressed(pieces: Sequence[bytes], encoding: Encoding) -> bytes:
    """The pieces as one, in zstd or gzip."""
    if encoding is Encoding.ZSTD:
        return zstd.compress(b"".join(pieces), level=_ZSTD_LEVEL)
    compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_HEADER)
    return b"".join((*(compressor.compress(piece) for piece in pieces), compressor.flush()))
