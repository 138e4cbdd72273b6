"""Where key sets come from: a file, or an http or https URL."""

import asyncio
import re
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from gateway.http.callers.caller import CallersError
from gateway.http.callers.keys import UnusableKeysError
from gateway.http_client.connection import BodyTooLargeError, ContentDecodingError
from gateway.http_client.pool import ConnectionPool, HttpClientFactory

_LARGEST_BYTES = 256 * 1024
_SECONDS = 5.0
_TOO_LARGE = f"it is larger than {_LARGEST_BYTES} bytes"


class KeySource(Protocol):
    """Brings the text of a key set, at most 256 KiB of it."""

    async def fetch(self) -> bytes | bytearray:
        """Raises UnusableKeysError."""
        ...

    async def close(self) -> None:
        """Give back what is held open."""
        ...


class KeyFile:
    """A key set in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def fetch(self) -> bytes:
        """See KeySource."""
        return await asyncio.to_thread(self._read)

    async def close(self) -> None:
        """See KeySource."""

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                text = file.read(_LARGEST_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or "its path is not one"
            raise UnusableKeysError(f"the file cannot be read: {reason}") from None
        if len(text) > _LARGEST_BYTES:
            raise UnusableKeysError(_TOO_LARGE)
        return text


class KeyUrl:
    """A key set that its issuer publishes. Redirects are not followed."""

    def __init__(self, url: str, connections: HttpClientFactory = ConnectionPool) -> None:
        """Raises CallersError where the URL is unusable."""
        base, self._target = _parts(url)
        self._connections = connections(base, {"accept": "application/jwk-set+json, application/json"})

    async def fetch(self) -> bytes | bytearray:
        """See KeySource."""
        try:
            reply = await self._connections.get(self._target, largest=_LARGEST_BYTES, within=_SECONDS)
        except BodyTooLargeError:
            failure = _TOO_LARGE
        except TimeoutError:
            failure = f"no answer within {_SECONDS:g} s"
        except ContentDecodingError:
            failure = "the answer is not in the encoding that it names"
        # A host name that cannot be encoded is a ValueError.
        except (OSError, ValueError) as error:
            failure = f"no connection: {type(error).__name__}"
        else:
            if reply.status == 200:  # noqa: PLR2004 # OK
                return reply.body
            failure = f"the answer has status {reply.status}"
        raise UnusableKeysError(failure)

    async def close(self) -> None:
        """See KeySource."""
        await self._connections.close()


def key_source(place: str, connections: HttpClientFactory = ConnectionPool) -> KeySource:
    """The source of a key set by its http or https URL, or else by its path. Raises CallersError."""
    if re.match(r"https?:", place, re.IGNORECASE):
        return KeyUrl(place, connections)
    if "://" in place:
        raise CallersError("a key set comes from a file, or from an http or https URL")
    return KeyFile(Path(place))


def _parts(url: str) -> tuple[str, str]:
    """Scheme and host, and what to ask there for."""
    try:
        parts = urlsplit(url)
        usable = re.fullmatch(r"[!-~]+", url) and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable or not re.fullmatch(r"[A-Za-z0-9.:_\[\]-]+", parts.netloc) or parts.fragment:
        raise CallersError("the key set's URL needs a host and visible ASCII characters, without user name or fragment")
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}", (parts.path or "/") + query
