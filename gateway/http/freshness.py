"""What caches between the gateway and its clients may keep: `Cache-Control` and `ETag` of answers to GET (RFC 9111)."""

from collections.abc import Callable, Mapping

from gateway.http.answers import Answer

# Answers that need no data of Leyr's, such as introspection, change when the gateway is replaced.
_LONGEST_SECONDS = 300


class Freshness:
    """Tells for how long answers are fresh, from what they were made of; `clock` is the one of the data's ages.

    `shared` says whether caches that serve several callers may keep them.
    """

    def __init__(self, clock: Callable[[], float], *, shared: bool) -> None:
        self._clock = clock
        self._scope = b"public" if shared else b"private"

    def headers(self, answer: Answer) -> list[tuple[bytes, bytes]]:
        """The headers of an answer to GET; one that holds an error is not to be kept at all."""
        if answer.fresh_until is None:
            return [(b"cache-control", b"no-store")]
        seconds = int(min(max(answer.fresh_until - self._clock(), 0), _LONGEST_SECONDS))
        kept = b"%b, max-age=%d" % (self._scope, seconds) if seconds else b"%b, no-cache" % self._scope
        return [(b"cache-control", kept), (b"etag", answer.etag)]


def is_known(answer: Answer, headers: Mapping[bytes, str]) -> bool:
    """Whether the client has this very answer already (`If-None-Match`: RFC 9110, 13.1.2)."""
    asked = headers.get(b"if-none-match")
    if asked is None or answer.fresh_until is None:
        return False
    # The comparison is weak (RFC 9110, 8.8.3.2): caches on the way may have left out the mark.
    tags = {each.strip().removeprefix("W/") for each in asked.split(",")}
    return "*" in tags or answer.etag.decode().removeprefix("W/") in tags
