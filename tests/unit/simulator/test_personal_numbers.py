"""The form of national numbers, tried on numbers that the documentation and registers give for tests."""

import pytest

from gateway.simulator.personal_numbers import CHECKS, digits_of

NUMBERS = {
    "se_personal_number": ("191212121212", "198112189876", "19811218-9876"),
    "no_personal_number": ("26258605879", "262586 05879"),
    "nhs_number": ("9000000009", "900 000 0009"),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_one_wrong_digit_makes_a_number_wrong(kind: str) -> None:
    for number in map(digits_of, NUMBERS[kind]):
        assert CHECKS[kind](number)
        wrong = [number[:-1] + digit for digit in "0123456789" if digit != number[-1]]
        assert not any(map(CHECKS[kind], [*wrong, number[1:], number + "0", "", "x" * len(number)]))


def test_a_number_of_another_country_is_none() -> None:
    for kind, check in CHECKS.items():
        for other, numbers in NUMBERS.items():
            assert check(digits_of(numbers[0])) == (kind == other)
