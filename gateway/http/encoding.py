"""Compression of answers: free times repeat themselves, so zstd makes a hundredth of them in a millisecond."""

import asyncio
import sys
import zlib
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache

from gateway.http.negotiation import weights

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_SMALLEST = 1024
_ZSTD_LEVEL = 3
_GZIP_LEVEL = 4
_GZIP_HEADER = 16 + zlib.MAX_WBITS
# Above this, compressing takes so long that other requests must not wait for it.
_WORTH_A_THREAD = 256 * 1024


class Encoding(StrEnum):
    """Content encodings, the better one first."""

    ZSTD = "zstd"
    GZIP = "gzip"
    IDENTITY = "identity"


@lru_cache(maxsize=256)
def preferred_encoding(accept_encoding: str | None) -> Encoding:
    """The encoding that a client likes best, the better one of equals (RFC 9110, 12.5.3).

    Whoever refuses even identity gets it all the same: an answer is worth more than a refusal.
    """
    if accept_encoding is None:
        return Encoding.IDENTITY
    found = weights(accept_encoding)
    everything = found.get("*", 0.0)
    offered = {each: found.get(each.value, everything) for each in (Encoding.ZSTD, Encoding.GZIP)}
    if "x-gzip" in found:
        offered[Encoding.GZIP] = max(offered[Encoding.GZIP], found["x-gzip"])
    best = max(offered, key=lambda each: offered[each])
    return best if offered[best] > 0 else Encoding.IDENTITY


async def encoded(pieces: Sequence[bytes], encoding: Encoding) -> tuple[Encoding, list[bytes]]:
    """The pieces in an encoding, and the encoding that was used: short answers stay as they are."""
    size = sum(map(len, pieces))
    if encoding is Encoding.IDENTITY or size < _SMALLEST:
        return Encoding.IDENTITY, list(pieces)
    if size < _WORTH_A_THREAD:
        return encoding, [_compressed(pieces, encoding)]
    return encoding, [await asyncio.to_thread(_compressed, pieces, encoding)]


def _compressed(pieces: Sequence[bytes], encoding: Encoding) -> bytes:
    if encoding is Encoding.ZSTD:
        return zstd.compress(b"".join(pieces), level=_ZSTD_LEVEL)
    compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_HEADER)
    return b"".join((*(compressor.compress(piece) for piece in pieces), compressor.flush()))
