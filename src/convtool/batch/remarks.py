"""What a person should know about a result that a default is likely to have surprised them with."""

from collections.abc import Iterator
from dataclasses import dataclass

from convtool.bank import sums_of
from convtool.geometry import ConvPlan, Note
from convtool.kernels import Kernel
from convtool.terms import BorderMode, Depth, RangeMode

# Shares below this are not worth a line.
WORTH_SAYING = 0.01


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the responses were before they became pixels.

    Parameters
    ----------
    minimum, maximum : float or None
        Over the finite responses.
    nonfinite : int
        How many are NaN or infinite.
    negative : float
        The share below zero.
    """

    minimum: float | None
    maximum: float | None
    nonfinite: int
    negative: float


def remarks(
    settled: ConvPlan,
    kernel: Kernel,
    mode: RangeMode,
    depth: Depth,
    full: float,
    outcome: Outcome,
    clipped: float,
) -> Iterator[Note]:
    """Name the surprises in one result.

    Parameters
    ----------
    settled : ConvPlan
    kernel : Kernel
    mode, depth : RangeMode, Depth
        How the responses became pixels.
    full : float
        White in the units of the responses: 255, 65535 or 1.
    outcome : Outcome
    clipped : float
        The share of responses that saturation changed.
    """
    sums = sums_of(kernel)
    zero_sum = all(abs(total) < 1e-6 for total in sums)
    if settled.spec.border.mode is BorderMode.ZERO and any(settled.pads):
        if zero_sum:
            yield Note(
                "false-edge",
                "outside the image counts as black, so the rim shows an edge that is not there",
                "--border edge or reflect, or --padding valid",
            )
        elif max(settled.pads) and settled.rows.window * settled.cols.window > 1:
            yield Note(
                "dark-rim",
                f"outside the image counts as black, so the rim is darker, up to "
                f"{max(settled.pads)} pixels deep",
                "--border edge or reflect, or --padding valid",
            )
    if outcome.nonfinite:
        fate = "NaN is written as 0" if depth is not Depth.FLOAT else "they are written as they are"
        yield Note("nonfinite", f"{outcome.nonfinite} responses are NaN or infinite; {fate}")
    if depth is Depth.FLOAT or outcome.minimum is None or outcome.maximum is None:
        return
    if mode is RangeMode.CLIP and outcome.negative > WORTH_SAYING:
        yield Note(
            "negative-clipped",
            f"{outcome.negative:.0%} of the responses are negative and became black",
            "--range abs, signed or stretch",
        )
    above = clipped - (outcome.negative if mode is RangeMode.CLIP else 0.0)
    if above > WORTH_SAYING and mode is RangeMode.SIGNED:
        yield Note(
            "signed-clipped",
            f"{above:.1%} of the responses are further from zero than white is, and became black "
            "or white",
            "--range stretch",
        )
    elif above > WORTH_SAYING:
        largest = max(abs(total) for total in sums)
        yield Note(
            "bright-clipped",
            f"{above:.1%} of the responses are brighter than white and became white",
            f"--normalize (the taps sum to {largest:g}), or --range stretch"
            if largest > 1.001
            else "--range stretch",
        )
    if mode is not RangeMode.STRETCH and full / 50 > max(outcome.maximum, -outcome.minimum) > 0:
        yield Note(
            "nearly-black",
            f"all responses lie between {outcome.minimum:.4g} and {outcome.maximum:.4g} where "
            f"white is {full:g}: the picture is nearly black",
            "--range stretch",
        )
