"""What a person should know about a result that a default is likely to have surprised them with."""

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.batch.model import Job
from convtool.geometry import Axis, Border, Note
from convtool.images import Clipped
from convtool.kernels import Kernel
from convtool.terms import AlphaMode, Depth, RangeMode

# Shares below this are not worth a line.
WORTH_SAYING = 0.01


class Outcome(NamedTuple):
    """What the responses were before they became pixels.

    Parameters
    ----------
    minimum, maximum : float or None
        Over the finite responses.
    nonfinite : int
        How many are NaN or infinite.
    clipped : Clipped
        Which shares saturation changed.
    light : str
        By which curve linear light was made of the pixels; nothing where it was not.
    """

    minimum: float | None
    maximum: float | None
    nonfinite: int
    clipped: Clipped
    light: str = ""


def remarks(job: Job, kernel: Kernel, full: float, outcome: Outcome) -> Iterator[Note]:
    """Name the surprises in one result.

    Parameters
    ----------
    job : Job
    kernel : Kernel
    full : float
        White in the units of the responses: 255, 65535 or 1.
    outcome : Outcome
    """
    if outcome.light:
        yield Note("light", f"computed in linear light, {outcome.light}; values are light, 1 white")
    yield from _about_the_rim(job, kernel)
    if outcome.nonfinite:
        fate = "they are written as they are"
        if job.range is not RangeMode.RAW:
            fate = "NaN is written as black, infinities as black and white"
        yield Note("nonfinite", f"{outcome.nonfinite} responses are NaN or infinite; {fate}")
    if outcome.minimum is not None and outcome.maximum is not None:
        yield from _about_the_range(job, kernel, full, outcome.clipped)
        largest = max(outcome.maximum, -outcome.minimum)
        as_they_are = job.depth is Depth.FLOAT or job.range is RangeMode.STRETCH
        if not as_they_are and full / 50 > largest > full * 1e-6:
            yield Note(
                "nearly-nothing",
                f"all responses lie between {outcome.minimum:.4g} and {outcome.maximum:.4g} where "
                f"white is {full:g}: the picture shows next to nothing",
                "--range stretch",
            )


def _about_the_rim(job: Job, kernel: Kernel) -> Iterator[Note]:
    # Layers of a network are meant to have their zeros.
    if not _is_black(job.plan.spec.border) or not job.plan.per_channel:
        return
    taps = (kernel.weights != 0).any(axis=0)
    deepest = max(_rim(job.plan.rows, taps.any(axis=1)), _rim(job.plan.cols, taps.any(axis=0)))
    if deepest == 0:
        return
    way_out = "--border edge or reflect, or --padding valid"
    if not any(kernel.sums):
        what = "the rim shows an edge that is not there"
        yield Note("false-edge", f"outside the image counts as black, so {what}", way_out)
        return
    reach = f"up to {deepest} pixel{'s' if deepest > 1 else ''} deep"
    if (kernel.weights < 0).any():
        what = f"outside the image counts as black, which falsifies the rim, {reach}"
    elif job.alpha is AlphaMode.PREMULTIPLY:
        what = f"outside the image counts as transparent, so the rim fades, {reach}"
    else:
        what = f"outside the image counts as black, so the rim is darker, {reach}"
    yield Note("dark-rim", what, way_out)


def _is_black(border: Border) -> bool:
    return border.is_fill and border.value == 0


def _rim(axis: Axis, taps: NDArray[np.bool_]) -> int:
    """Count the outputs, from one end, whose taps that are not zero reach into the padding."""
    counting = np.flatnonzero(taps)
    if not counting.size:
        return 0
    lead = int(counting[0]) * axis.d
    trail = (axis.k - 1 - int(counting[-1])) * axis.d
    used = axis.after - min(axis.dropped, axis.after)
    deepest = max(axis.before - lead, used - trail, 0)
    return min(ceil(deepest / axis.s), axis.o)


def _about_the_range(job: Job, kernel: Kernel, full: float, clipped: Clipped) -> Iterator[Note]:
    if job.range is RangeMode.SIGNED and clipped.below + clipped.above > WORTH_SAYING:
        yield Note(
            "signed-clipped",
            f"{clipped.below + clipped.above:.1%} of the responses are further than white from "
            "zero, and became black or white",
            "--range stretch",
        )
        return
    if clipped.below > WORTH_SAYING:
        yield Note(
            "negative-clipped",
            f"{clipped.below:.1%} of the responses are negative and became black",
            "--range abs, signed or stretch",
        )
    if clipped.above > WORTH_SAYING:
        largest = max(kernel.sums)
        brightens = job.plan.per_channel and min(kernel.sums) > 0 and largest > 1.001
        yield Note(
            "bright-clipped",
            f"{clipped.above:.1%} of the responses are brighter than white and became white",
            f"--normalize (the taps sum to {largest:g}), or --range stretch"
            if brightens
            else "--range stretch",
        )
