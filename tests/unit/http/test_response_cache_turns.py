"""Large responses take turns when they are compressed."""

import asyncio
import gzip
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Message

from gateway.http.negotiation import Encoding, MediaType
from gateway.http.response_cache import GraphQLResponse

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LARGE = [b'"%032d",' % number for number in range(12_000)]


class WatchedPieces(list[bytes]):
    """Pieces that know how many lists of them threads read at the same time."""

    def __init__(self, pieces: list[bytes], readers: list[int]) -> None:
        super().__init__(pieces)
        self._readers = readers

    def __iter__(self) -> Iterator[bytes]:
        if threading.current_thread() is threading.main_thread():
            yield from super().__iter__()
            return
        self._readers.append(self._readers[-1] + 1)
        yield from super().__iter__()
        self._readers.append(self._readers[-1] - 1)


@pytest.mark.parametrize(
    ("encoding", "decompress"), [(Encoding.GZIP, gzip.decompress), (Encoding.ZSTD, zstd.decompress)]
)
async def test_large_responses_are_compressed_one_after_the_other(encoding: Encoding, decompress: Any) -> None:
    turns, readers = asyncio.Semaphore(1), [0]
    pieces = WatchedPieces(LARGE, readers)
    bodies: list[bytes] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])

    responses = [GraphQLResponse(200, MediaType.JSON, pieces, turns=turns) for _ in range(8)]
    await asyncio.gather(*(response.send(send, encoding) for response in responses))

    assert list(map(decompress, bodies)) == [b"".join(LARGE)] * len(responses)
    # At least once each, and never two at a time.
    assert len(readers) > 2 * len(responses)
    assert max(readers) == 1
