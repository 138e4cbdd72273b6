"""Content encodings of responses: what their bodies hold is read as it comes, up to a bound."""

import zlib

_GZIP = frozenset({"gzip", "x-gzip"})
_ZLIB = _GZIP | {"deflate"}
# What servers write that means no encoding, the names of charsets among it; other clients read past these too.
_NONE = frozenset({"", "identity", "none", "utf-8", "utf8", "us-ascii", "iso-8859-1"})
# A gzip body may be of several members (RFC 1952, section 2.2). Tools that write blocks make one of each 64 KiB; an
# empty one takes 20 bytes, and as long as a large one to begin.
_MAX_MEMBERS = 1_000
# zlib's names for a stream with a gzip or zlib header, and for one with a gzip header.
_ANY_HEADER, _GZIP_HEADER = zlib.MAX_WBITS | 32, zlib.MAX_WBITS | 16


class ContentDecodingError(Exception):
    """The body is not in the encoding that the response names, or in an unknown one."""


class Decoder:
    """Decodes one body, part by part."""

    __slots__ = ("_decompressor", "_encoding", "_members")

    def __init__(self, encoding: str) -> None:
        """`encoding` is in lower case, and means one by `is_encoded`."""
        self._encoding = encoding
        self._members = 0
        self._decompressor: zlib._Decompress | None = None

    @property
    def is_whole(self) -> bool:
        """Whether what came is no part of something longer."""
        return self._decompressor is None

    def decode(self, encoded: bytes, room: int) -> bytes | bytearray:
        """What a part of the body holds, `room` bytes at most. Raises ContentDecodingError."""
        try:
            decompressor = self._decompressor or self._next_member(encoded)
            if decompressor is None:
                return b""
            plain = decompressor.decompress(encoded, room)
            if not decompressor.eof:
                return plain
            self._decompressor = None
            rest = decompressor.unused_data
            return self._with_further_members(bytearray(plain), rest, room) if rest else plain
        except zlib.error:
            raise ContentDecodingError from None

    def _with_further_members(self, plain: bytearray, rest: bytes, room: int) -> bytearray:
        """Add what the members in `rest` hold, up to `room` bytes together. Raises zlib.error."""
        while rest and len(plain) < room:
            decompressor = self._next_member(rest)
            if decompressor is None:
                break
            plain += decompressor.decompress(rest, room - len(plain))
            if not decompressor.eof:
                break
            rest, self._decompressor = decompressor.unused_data, None
        return plain

    def _next_member(self, encoded: bytes) -> "zlib._Decompress | None":
        """Begin a gzip member; None where only padding is left, as blocks have it. Raises zlib.error."""
        self._members += 1
        if self._members == 1:
            known, header = _ZLIB, _ANY_HEADER
        elif encoded.strip(b"\0"):
            known, header = _GZIP, _GZIP_HEADER
        else:
            # What comes behind padding is no member.
            self._members = _MAX_MEMBERS
            return None
        if self._encoding not in known or self._members > _MAX_MEMBERS:
            raise zlib.error
        self._decompressor = zlib.decompressobj(header)
        return self._decompressor


def decoder_of(content_encoding: str) -> Decoder | None:
    """The decoder for the value of a `Content-Encoding`; None where the body is as it comes."""
    encoding = content_encoding.lower()
    return None if encoding in _NONE else Decoder(encoding)
