"""What is written to the shared store, so that nobody without the secret can read it, forge it, or tell what it is of.

Names are keyed digests. Values are compressed and sealed with AES-256-GCM, bound to their name: one that was moved,
changed or made by somebody else does not open. Another secret, base URL or version has other names and other keys.
"""

import hmac
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256

from cachetools import LRUCache
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_FORMAT = b"L1"
_SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 16, 12, 16
_HEADER_BYTES = len(_FORMAT) + _SALT_BYTES + _NONCE_BYTES
_NAME_BYTES = 18
_LEVEL = 1
_MOST_KEYS = 256
# Random nonces of 96 bits: with so many under one key, the chance that two are equal is below 2 to the -49. NIST SP
# 800-38D, 8.3, allows 2 to the 32. Each process takes a new key at its start and after so many: of those, 128 random
# bits tell one from another.
_MOST_SEALED = 2**24
_MOST_PLAIN_BYTES = 64 * 1024 * 1024


class Sealing:
    """Names and sealed values under one secret; `context` tells apart what must not be mixed, such as base URLs.

    `on_garbage` is told of each value that was there and does not open.
    """

    def __init__(
        self,
        secret: bytes,
        context: tuple[str, ...],
        new_secret: Callable[[], bytes],
        on_garbage: Callable[[], None] = lambda: None,
    ) -> None:
        root = hmac.digest(secret, _joined(("leyr-gateway shared store", *context)), sha256)
        self._naming = hmac.digest(root, b"names", sha256)
        self._sealing = hmac.digest(root, b"values", sha256)
        self._new_secret = new_secret
        self._on_garbage = on_garbage
        # Taken when it is needed first, which is after a fork.
        self._salt = b""
        self._sealed = 0
        self._ciphers: LRUCache[bytes, AESGCM] = LRUCache(_MOST_KEYS)

    def name(self, purpose: str, *parts: str) -> str:
        """The name of something in the store, of 24 letters, digits, `-` and `_`."""
        digest = hmac.digest(self._naming, _joined((purpose, *parts)), sha256)
        return urlsafe_b64encode(digest[:_NAME_BYTES]).decode()

    def seal(self, name: str, plain: bytes) -> bytes:
        """The value to keep under a name. Its length shows; nothing else of it does."""
        if self._sealed % _MOST_SEALED == 0:
            self._salt = self._new_secret()[:_SALT_BYTES]
        self._sealed += 1
        nonce = self._new_secret()[:_NONCE_BYTES]
        header = _FORMAT + self._salt + nonce
        packed = zstd.compress(plain, level=_LEVEL)
        return header + self._cipher(self._salt).encrypt(nonce, packed, header + name.encode())

    def open(self, name: str, sealed: object) -> bytes | None:
        """What was sealed under a name; None for everything else, of which None itself is not garbage."""
        if sealed is None:
            return None
        plain = self._opened(name, sealed) if isinstance(sealed, bytes) else None
        if plain is None:
            self._on_garbage()
        return plain

    def _opened(self, name: str, sealed: bytes) -> bytes | None:
        if not sealed.startswith(_FORMAT) or len(sealed) < _HEADER_BYTES + _TAG_BYTES:
            return None
        header, text = sealed[:_HEADER_BYTES], sealed[_HEADER_BYTES:]
        salt, nonce = header[len(_FORMAT) : -_NONCE_BYTES], header[-_NONCE_BYTES:]
        try:
            return _decompressed(self._cipher(salt).decrypt(nonce, text, header + name.encode("utf-8", "replace")))
        except (InvalidTag, zstd.ZstdError):
            return None

    def _cipher(self, salt: bytes) -> AESGCM:
        found = self._ciphers.get(salt)
        if found is None:
            found = self._ciphers[salt] = AESGCM(hmac.digest(self._sealing, salt, sha256))
        return found


def _decompressed(packed: bytes) -> bytes | None:
    """The plain text; None for one that is longer than any that is written."""
    reader = zstd.ZstdDecompressor()
    plain = reader.decompress(packed, max_length=_MOST_PLAIN_BYTES)
    return plain if reader.eof and not reader.unused_data else None


def _joined(parts: tuple[str, ...]) -> bytes:
    """Texts as bytes that no other texts give: each behind its length."""
    encoded = [each.encode("utf-8", "surrogatepass") for each in parts]
    return b"".join(len(each).to_bytes(4, "big") + each for each in encoded)
