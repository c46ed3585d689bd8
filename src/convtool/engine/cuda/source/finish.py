"""What becomes of a sum, while it is in a register: the end of every kernel.

See `convtool.engine.finish` for what is meant; the choices are places in its enumerations, and are
known when a kernel is compiled.
"""

import math
from typing import Any

import numpy as np

from convtool.engine.cuda.source.parts import part
from convtool.engine.cuda.source.sums import rounded, within

f4, i4 = np.float32, np.int32
NOTHING, HALF = f4(0), f4(0.5)
# The magnitude of one filter alone, behind the places of the ways to combine several.
ALONE = 6

LARGEST = f4(3.4028235e38)


@part
def activated(y: Any, activation: int) -> Any:
    """Return what a response becomes by its activation."""
    if activation == 1:  # relu; NaN stays NaN
        return NOTHING if y < NOTHING else y
    if activation == 2:
        return f4(abs(y))
    if activation == 3:  # 1 / (1 + e^-y), written so that nothing overflows
        return f4(HALF + HALF * f4(math.tanh(HALF * y)))
    if activation == 4:
        return f4(math.tanh(y))
    return y


@part
def taken(y: Any, total: Any, combine: int, first: int) -> Any:
    """Take one more filter's response into the total; NaN wins everywhere."""
    if combine == 1:  # magnitude: the squares
        return y * y if first else total + y * y
    if first:
        return y
    if combine <= 3:  # sum, mean
        return total + y
    if combine == 4:  # max
        return y if y > total or y != y else total
    a, b = abs(y), abs(total)  # absmax keeps the sign; of two as large, the positive one
    return y if a > b or (a == b and y > total) or a != a else total


@part
def combined(total: Any, combine: int, filters: int) -> Any:
    """Return what the total of all filters becomes."""
    if combine == 1:
        return f4(math.sqrt(total))
    if combine == ALONE:
        return f4(abs(total))
    if combine == 3:
        return total / f4(filters)
    return total


@part
def response(y: Any, bias: Any, activation: int) -> Any:
    """Return what a filter's sum becomes."""
    return activated(f4(y + bias), activation)


@part
def nothing_seen() -> Any:
    """Return a summary of no responses: least, greatest; infinite or NaN, below, above, NaN."""
    return f4(np.inf), f4(-np.inf), i4(0), i4(0), i4(0), i4(0)


@part
def seen_too(y: Any, seen: Any) -> Any:
    """Take a response into the summary."""
    least, greatest, others, below, above, nan = seen
    if abs(y) <= LARGEST:
        least = y if y < least else least
        greatest = y if y > greatest else greatest
    else:
        others = i4(others + i4(1))
    return least, greatest, others, below, above, nan


@part
def clipped_too(y: Any, seen: Any, whole: int, full: Any, slack: Any) -> Any:
    """Count whether the range clips a response at black, at white, or for want of a value."""
    least, greatest, others, below, above, nan = seen
    v = rounded(y) if whole else y
    if v < -slack:
        below = i4(below + i4(1))
    if v > full + slack:
        above = i4(above + i4(1))
    if v != v:
        nan = i4(nan + i4(1))
    return least, greatest, others, below, above, nan


@part
def ranged(y: Any, limits: int, scale: int, middle: Any, factor: Any) -> Any:
    """Return what a response becomes by its range: abs, signed; multiplied or divided."""
    if limits == 2:
        y = f4(abs(y))
    if limits == 3:
        y = f4(y * HALF + middle)
    if scale == 1:
        y = f4(y * factor)
    if scale == 2:
        y = f4(y / factor)
    return y


@part
def limited(y: Any, limits: int, whole: int, full: Any) -> Any:
    """Limit to what is stored; NaN becomes 0."""
    if whole or limits:
        y = within(y, full)
    return y


@part
def ended(
    y: Any,
    live: bool,
    seen: Any,
    combine: int,
    filters: int,
    limits: int,
    scale: int,
    whole: int,
    summarise: int,
    told: Any,
) -> Any:
    """Return what is stored of a response, and the summary with it if it is one that counts.

    Parameters
    ----------
    told : tuple of float32
        middle, factor, full, slack.
    """
    middle, factor, full, slack = told
    if combine:
        y = combined(y, combine, filters)
    if summarise and live:
        seen = seen_too(y, seen)
    if limits:
        y = ranged(y, limits, scale, middle, factor)
        if summarise and live:
            seen = clipped_too(y, seen, whole, full, slack)
    return limited(y, limits, whole, full), seen
