"""Divisors that two numbers have in common: the groups into which channels can be split."""

from math import gcd, isqrt

# Divisors up to this one are looked for, each with the number that it leaves; so all are found of
# what is below its square.
LARGEST_TRIED = 2**16


def common_divisors(first: int, second: int) -> list[int]:
    """List the numbers that divide both, the smallest first.

    Parameters
    ----------
    first, second : int
        1 or more.

    Examples
    --------
    >>> common_divisors(12, 18), common_divisors(10**9, 3)
    ([1, 2, 3, 6], [1])
    """
    common = gcd(first, second)
    small = [n for n in range(1, min(isqrt(common), LARGEST_TRIED) + 1) if common % n == 0]
    return sorted({*small, *(common // n for n in small)})
