"""Personal identity numbers of the Nordic countries, as far as they can be told from other digits.

Sweden writes YYMMDD-NNNN with or without the century, Denmark DDMMYY-NNNN, Norway DDMMYYNNNNN, Finland
DDMMYY-NNNC with a letter for the sign since 2000. Days go up by 60 (Sweden, coordination numbers) or 40 (Norway, D
numbers). Check digits are left out of account: newer Danish and Norwegian numbers have none that could be checked.
"""

import re

_SEPARATORS = re.compile(r"(?<=\d)[\s+_./:\u2010-\u2015-]+(?=\d)")
_YEAR_FIRST = re.compile(r"(?=\d\d(\d\d)(\d\d)\d{4})", re.ASCII)
_DAY_FIRST = re.compile(r"(?=(\d\d)(\d\d)\d\d[A-Z]?\d{3}[0-9A-Z])", re.ASCII | re.IGNORECASE)
_MANY_DIGITS = re.compile(r"\d(?:\D{0,4}\d){8}")


def has_many_digits(text: str) -> bool:
    """Whether a text has digits enough for a personal number; takes half a microsecond for most."""
    return _MANY_DIGITS.search(text) is not None


def may_hold_a_personal_number(text: str) -> bool:
    """Whether digits in a text could be somebody's personal identity number, whatever stands between them."""
    if not has_many_digits(text):
        return False
    plain = _SEPARATORS.sub("", text)
    return any(_is_date(month, day) for month, day in _YEAR_FIRST.findall(plain)) or any(
        _is_date(month, day) for day, month in _DAY_FIRST.findall(plain)
    )


def _is_date(month: str, day: str) -> bool:
    number = int(day)
    return "01" <= month <= "12" and any(0 < number - shift <= 31 for shift in (0, 40, 60))  # noqa: PLR2004 # days of a month
