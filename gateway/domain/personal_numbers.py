"""Detection of the Nordic countries' personal identity numbers in text, as far as they differ from other digits.

Sweden writes YYMMDD-NNNN with or without the century, Denmark DDMMYY-NNNN, Norway DDMMYYNNNNN, Finland
DDMMYY-NNNC with a letter for the sign since 2000. Days go up by 60 (Sweden, coordination numbers) or 40 (Norway, D
numbers). Check digits are left out of account: newer Danish and Norwegian numbers have none that could be checked.
"""

import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from unicodedata import digit
from urllib.parse import unquote

_SEPARATORS = re.compile(r"(?<=\d)[\s+_./:\u2010-\u2015-]+(?=\d)")
_MONTH = "(?:0[1-9]|1[0-2])"
_DAY = r"(?:0[1-9]|[12]\d|3[01]|4[1-9]|[5-8]\d|9[01])"
_NUMBER = re.compile(rf"\d\d{_MONTH}{_DAY}\d{{4}}|{_DAY}{_MONTH}\d\d[A-Z]?\d{{3}}[0-9A-Z]", re.ASCII | re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}")
_BASE64_WITHOUT_SLASH = re.compile(r"[A-Za-z0-9+_-]{12,}")
_MOST_ENCODINGS = 3
_URL_SAFE = str.maketrans("-_", "+/")
# A pattern of every personal number in a name, which is found in a fiftieth of the time of the full check.
_NAME_DAY = "(?:0[1-9]|[1245678][0-9]|3[01]|9[01])"
_SUSPICIOUS_NAME = re.compile(
    f"[0-9]{{2}}{_MONTH}{_NAME_DAY}[0-9]{{4}}|{_NAME_DAY}{_MONTH}[0-9]{{2}}[A-Za-z]?[0-9]{{3}}[0-9A-Za-z]"
)
_DATE = rf"((?:19|20)\d\d{_MONTH}(?:0[1-9]|[12]\d|3[01]))"
# With letters around them, since digits or the sign of a Finnish number beside a date could make a number of its own.
_TWO_DATES = re.compile(rf"((?:.*[A-Za-z])?_*){_DATE}[A-Za-z_]+{_DATE}(_*(?:[A-Za-z].*)?)", re.ASCII)
_MOST_OTHER_DIGITS = 2
_MANY_DIGITS = re.compile(r"\d(?:\D{0,4}\d){8}")


def has_many_digits(text: str) -> bool:
    """Whether a text has digits enough for a personal number; takes half a microsecond for most."""
    return _MANY_DIGITS.search(text) is not None


def may_be_cached(header: str) -> bool:
    """Whether a header that lists formats holds nothing else: other text of clients has digits or capitals."""
    return header == header.lower() and not has_many_digits(header)


def may_hide_a_personal_number(text: str) -> bool:
    """Whether a text may hold one, as it is or decoded from percent-encoding and base64, also nested."""
    readings = {text}
    for _ in range(_MOST_ENCODINGS):
        if any(map(may_hold_a_personal_number, readings)):
            return True
        readings = {inner for each in readings for inner in _decoded(each)} - readings
    return any(map(may_hold_a_personal_number, readings))


def _decoded(text: str) -> Iterator[str]:
    yield unquote(text)
    for found in (*_BASE64.findall(text), *_BASE64_WITHOUT_SLASH.findall(text)):
        # Text that does not decode as Base64 hides no number in Base64.
        with suppress(ValueError):
            plain = found.translate(_URL_SAFE)
            yield b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode()


def may_hold_a_personal_number(text: str) -> bool:
    """Whether digits in a text could be a personal identity number, with or without separators between them."""
    if not has_many_digits(text):
        return False
    plain = _SEPARATORS.sub("", text if text.isascii() else "".join(map(_plain, text)))
    return _NUMBER.search(plain) is not None


def refuse_name(name: str) -> str | None:
    """Why a name in a document is refused; None where it holds no personal number.

    Two calendar dates are none, so that a name may say which window it asks: `w20261130_20261206`.
    """
    if not _SUSPICIOUS_NAME.search(name.replace("_", "")) or not may_hold_a_personal_number(name):
        return None
    if _is_named_by_two_dates(name):
        return None
    return "A name in the document looks like a personal number; pass such data in variables"


def _is_named_by_two_dates(name: str) -> bool:
    found = _TWO_DATES.fullmatch(name)
    if found is None:
        return False
    before, *dates, after = found.groups()
    try:
        for each in dates:
            date.fromisoformat(each)
    except ValueError:
        return False
    # The shortest part of a personal number that a date could complete has three.
    return sum(map(str.isdigit, before + after)) <= _MOST_OTHER_DIGITS


def _plain(char: str) -> str:
    """The character itself, or for a digit of any script its ASCII digit."""
    value = digit(char, None)
    return char if value is None else str(value)
