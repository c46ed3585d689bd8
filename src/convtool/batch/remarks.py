"""What a person should know about a result that a default is likely to have surprised them with."""

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.batch.model import Job
from convtool.batch.transposed import tap_sums
from convtool.geometry import Axis, Border, ConvPlan, Note, size_text
from convtool.images import Clipped
from convtool.kernels import Kernel
from convtool.terms import AlphaMode, Depth, Op, RangeMode

# Shares below this are not worth a line.
WORTH_SAYING = 0.01

# Sums of taps that differ by less, beside the largest, are equal but for rounding.
EQUAL = 1e-6

# A picture that keeps less of its brightness is noticeably darker.
BRIGHT = 0.95


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


def plan_notes(settled: ConvPlan, kernel: Kernel) -> Iterator[Note]:
    """Return the notes of a plan in the light of the kernel's weights.

    Windows that overlap unevenly make no pattern where the taps sum to the same everywhere, and
    those that overlap evenly make one where they do not.

    Parameters
    ----------
    settled : ConvPlan
    kernel : Kernel
    """
    if settled.op is Op.CONV2D:
        yield from settled.notes
        return
    sums = tap_sums(kernel, settled)
    largest = float(np.abs(sums).max())
    spread = float(np.ptp(sums, axis=(0, 1)).max()) / largest if largest else 0.0
    notes = [n for n in settled.notes if n.code != "uneven-overlap" or spread > EQUAL]
    yield from notes
    told = any(note.code in ("uneven-overlap", "unreached") for note in notes)
    # Those of a layer that has learnt always differ.
    if spread > WORTH_SAYING and settled.per_channel and not told:
        yield Note(
            "uneven-sums",
            f"the taps that meet in an output sum to between {sums.min():.4g} and "
            f"{sums.max():.4g}, in a pattern of {size_text(sums.shape[:2])} that shows in even "
            "areas",
        )


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
    yield from _about_the_brightness(job, kernel)
    if outcome.nonfinite:
        fate = "they are written as they are"
        if job.range is not RangeMode.RAW:
            fate = "NaN is written as black, infinities as black and white"
            if job.chain:
                fate = "NaN is drawn as zero, infinities as black and white"
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
    if job.plan.spec.flip:
        taps = taps[::-1, ::-1]
    transposed = job.plan.op is Op.CONV2D_TRANSPOSE
    rim = _transposed_rim if transposed else _rim
    deepest = max(rim(job.plan.rows, taps.any(axis=1)), rim(job.plan.cols, taps.any(axis=0)))
    if deepest == 0:
        return
    way_out = "--border edge or reflect" + ("" if transposed else ", or --padding valid")
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


def _transposed_rim(axis: Axis, taps: NDArray[np.bool_]) -> int:
    """Count the outputs, from one end, that a tap that is not zero fills from beyond the input."""
    s, last = axis.s, axis.i - 1
    # Where each tap brings input 0 to; it brings inputs -1 and o, which are not there, to s before
    # that and o·s behind it.
    places = np.flatnonzero(taps) * axis.d - axis.before
    upper = places - s
    upper -= np.maximum(-((last - upper) // s), 0) * s  # within the output, at most its last line
    lower = places + axis.o * s
    lower += np.maximum(-(lower // s), 0) * s
    deepest = np.concatenate([upper + 1, np.where(lower <= last, axis.i - lower, 0)])
    return int(deepest.max(initial=0))


def _about_the_brightness(job: Job, kernel: Kernel) -> Iterator[Note]:
    """Say what a stride takes: its outputs share the kernel's taps, and their sum, among them."""
    if job.plan.op is Op.CONV2D or not job.plan.per_channel or job.range is RangeMode.STRETCH:
        return
    # Where a kernel leaves gaps they are what is to be mended first, and they are black.
    if any(note.code == "unreached" for note in job.plan.notes):
        return
    sums = tap_sums(kernel, job.plan)
    least, greatest = float(sums.min()), float(sums.max())
    if least < 0 or greatest <= 0 or greatest >= BRIGHT:
        return
    one = " to ".join(dict.fromkeys((f"{least:.3g}", f"{greatest:.3g}")))
    yield Note(
        "darker",
        f"the taps that meet in an output sum to {one}: the picture is darker",
        _as_bright(job.plan),
    )


def _as_bright(settled: ConvPlan) -> str:
    """Say how an enlargement by this stride keeps the brightness."""
    down, across = settled.spec.stride
    if (down, across) == (1, 1):
        return "--normalize"
    like = ""
    if down == across and settled.spec.dilation == (1, 1):
        like = f", such as --kernel bilinear:factor={down}"
    return f"a kernel with the sum {down * across} is as bright as the input{like}"


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
        yield Note(
            "bright-clipped",
            f"{clipped.above:.1%} of the responses are brighter than white and became white",
            " or ".join(filter(None, [_less_bright(job.plan, kernel), "--range stretch"])),
        )


def _less_bright(settled: ConvPlan, kernel: Kernel) -> str:
    """Say how a kernel that brightens would keep the brightness."""
    if not settled.per_channel:
        return ""
    sums = tap_sums(kernel, settled)
    largest = float(sums.max())
    if sums.min() <= 0 or largest <= 1.001:
        return ""
    if settled.op is Op.CONV2D_TRANSPOSE and settled.spec.stride != (1, 1):
        return f"{_as_bright(settled)},"
    return f"--normalize (the taps sum to {largest:g}),"
