"""The content coding that an Accept-Encoding header prefers, and compression."""

import gzip
import sys
import tracemalloc
from collections.abc import Callable

import pytest

from gateway.http.negotiation import (
    ENCODINGS,
    ENCODINGS_OF_BROWSERS,
    MIN_COMPRESSED_BYTES,
    THREAD_BYTES,
    Encoding,
    compressed,
    preferred_encoding,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD, GZIP, IDENTITY = Encoding.ZSTD, Encoding.GZIP, Encoding.IDENTITY


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        (None, IDENTITY),
        ("", IDENTITY),
        ("gzip", GZIP),
        ("x-gzip", GZIP),
        ("GZIP", GZIP),
        ("zstd", ZSTD),
        ("gzip, deflate, br, zstd", ZSTD),
        ("gzip, deflate, br", GZIP),
        ("br, deflate", IDENTITY),
        ("gzip;q=1.0, zstd;q=0.9", GZIP),
        ("zstd;q=0.5,gzip;q=0.5", ZSTD),
        ("gzip;q=0", IDENTITY),
        ("gzip;q=0, x-gzip;q=0, zstd;q=0", IDENTITY),
        ("gzip;q=0, *", ZSTD),
        ("zstd;q=0, *;q=0.1", GZIP),
        ("*", ZSTD),
        ("*;q=0", IDENTITY),
        ("x-gzip;q=0, *;q=0.5, zstd;q=0", IDENTITY),
        ("identity", IDENTITY),
        ("identity, gzip;q=0.5", IDENTITY),
        ("identity;q=0.5, gzip;q=0.5", GZIP),
        ("identity;q=0.5, gzip", GZIP),
        ("identity;q=0", IDENTITY),
        ("identity;q=0, gzip;q=0.001", GZIP),
        ("identity;q=0, *;q=0.5", ZSTD),
        ("gzip ; q = 0 , zstd ; q=0.2", ZSTD),
        ("gzip;q=nonsense, zstd;q=", IDENTITY),
        (",,;q=1,", IDENTITY),
    ],
)
def test_encoding_follows_the_accept_encoding_header(accept_encoding: str | None, expected: Encoding) -> None:
    assert preferred_encoding(accept_encoding, ENCODINGS_OF_BROWSERS) is expected


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("gzip, deflate, br, zstd", GZIP),
        ("zstd, gzip;q=0.9", ZSTD),
        ("zstd", ZSTD),
        ("*", GZIP),
        ("gzip;q=0, *", ZSTD),
        (None, IDENTITY),
    ],
)
def test_programs_get_gzip_among_equals(accept_encoding: str | None, expected: Encoding) -> None:
    assert preferred_encoding(accept_encoding, ENCODINGS) is expected


@pytest.mark.parametrize("encoding", [GZIP, ZSTD])
@pytest.mark.parametrize(
    "pieces", [[], [b""], [b"a"], [b"ab" * 9_000, b"", b"c"], [bytes(at * at % 251 for at in range(300_000))]]
)
def test_a_compressed_body_decompresses_to_the_original(pieces: list[bytes], encoding: Encoding) -> None:
    unpack = gzip.decompress if encoding is GZIP else zstd.decompress

    assert unpack(compressed(pieces, encoding)) == b"".join(pieces)


def test_small_bodies_are_not_compressed_and_large_ones_in_a_thread() -> None:
    assert MIN_COMPRESSED_BYTES == 1024
    assert 200_000 < THREAD_BYTES < 300_000


@pytest.mark.parametrize(("encoding", "decompress"), [(ZSTD, zstd.decompress), (GZIP, gzip.decompress)])
def test_large_body_is_compressed_piece_by_piece(encoding: Encoding, decompress: Callable[[bytes], bytes]) -> None:
    pieces = [(b'{"start":"%08d"},' % number) * 4_000 for number in range(256)]
    size = sum(map(len, pieces))

    tracemalloc.start()
    body = compressed(pieces, encoding)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert decompress(body) == b"".join(pieces)
    # Without a copy of the whole; what the compressors hold in C is not counted.
    assert peak < size / 8
