"""The form of national numbers: how many digits, and their check digits."""

from collections.abc import Callable, Mapping, Sequence

_SWEDISH_DIGITS = 12
_NORWEGIAN_WEIGHTS = ((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1))
_NHS_WEIGHTS = (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)
_ELEVEN = 11
_TEN = 10


def digits_of(number: str) -> str:
    """Take away the hyphens and spaces that people write."""
    return number.replace("-", "").replace(" ", "")


def is_swedish(number: str) -> bool:
    """Is this a Swedish personal number of 12 digits?"""
    return _has_digits(number, _SWEDISH_DIGITS) and _luhn_sum(number[2:]) % _TEN == 0


def is_norwegian(number: str) -> bool:
    """Is this a Norwegian personal number of 11 digits?"""
    return _has_digits(number, _ELEVEN) and all(_weighted(number, each) for each in _NORWEGIAN_WEIGHTS)


def is_nhs_number(number: str) -> bool:
    """Is this an NHS number of 10 digits?"""
    return _has_digits(number, _TEN) and _weighted(number, _NHS_WEIGHTS)


CHECKS: Mapping[str, Callable[[str], bool]] = {
    "se_personal_number": is_swedish,
    "no_personal_number": is_norwegian,
    "nhs_number": is_nhs_number,
}
"""By the type of patient id that holds the number."""


def _has_digits(number: str, count: int) -> bool:
    return len(number) == count and number.isascii() and number.isdigit()


def _luhn_sum(number: str) -> int:
    doubled = (int(digit) * (2 - place % 2) for place, digit in enumerate(number))
    return sum(one // _TEN + one % _TEN for one in doubled)


def _weighted(number: str, weights: Sequence[int]) -> bool:
    return sum(int(digit) * weight for digit, weight in zip(number, weights, strict=False)) % _ELEVEN == 0
