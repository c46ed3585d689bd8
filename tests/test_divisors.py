"""Common divisors, against trying every number."""

import pytest

from convtool.divisors import common_divisors


def test_they_are_those_that_divide_both():
    for first in range(1, 40):
        for second in range(1, 40):
            expected = [n for n in range(1, 40) if first % n == second % n == 0]
            assert common_divisors(first, second) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (10**9, 3, [1]),
        (10**9 + 7, 10**9 + 7, [1, 10**9 + 7]),
        (2**62, 2**31, [2**n for n in range(32)]),
    ],
)
def test_large_numbers_have_few(first, second, expected):
    assert common_divisors(first, second) == expected
