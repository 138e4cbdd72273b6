"""Files that an operator names: read whole, within a size, and never waited for."""

import os
from pathlib import Path
from stat import S_ISREG

MEBIBYTE = 1024 * 1024
_MAX_SECRET_BYTES = 4_096
# To open a fifo would wait for its writer without end; Windows has none.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)


class FileError(Exception):
    """A file cannot be read; the message says why, and quotes neither its path nor what it holds."""


class FileTooLargeError(FileError):
    """A file holds more than it may."""


def read_file(path: Path, max_bytes: int = 16 * MEBIBYTE) -> bytes:
    """Read a regular file, or what a link to one leads to. Raises FileError."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileError("it is not a regular file")
            text = file.read(max_bytes + 1)
    except OSError as error:
        raise FileError(error.strerror or type(error).__name__) from None
    except ValueError:
        raise FileError("its path is not one") from None
    if len(text) > max_bytes:
        raise FileTooLargeError(f"it is larger than {max_bytes} bytes")
    return text


def read_secret(path: Path) -> str:
    """Read a file that holds a secret and nothing else, without the end of its line. Raises FileError."""
    try:
        secret = read_file(path, _MAX_SECRET_BYTES).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise FileError("it is not text in UTF-8") from None
    if not secret:
        raise FileError("it is empty")
    return secret


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | _AT_ONCE)
