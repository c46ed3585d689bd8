"""From the pixels of an input to those of its output: alpha, light, convolution, range."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool import engine, images
from convtool.batch.layout import DTYPES, fuses, response_axes
from convtool.batch.model import Job, Request, Verified
from convtool.batch.remarks import Outcome
from convtool.batch.transposed import nearest_inputs, over_outputs, tap_sums
from convtool.geometry import Axis, Border, ConvPlan, plan
from convtool.images import Picture
from convtool.kernels import Kernel
from convtool.responses import activate, combine
from convtool.terms import (
    AlphaMode,
    BorderMode,
    Combine,
    Depth,
    EngineName,
    MethodName,
    Op,
    RangeMode,
)

# Values compared at a time: temporaries stay small.
_BAND = 1 << 18


class Seen(NamedTuple):
    """A picture's numbers as the convolution is to see them.

    Parameters
    ----------
    pixels : ndarray (N, H, W, C)
        Alpha counted.
    full : float
        What stands for white and for opaque.
    light : Light or None
        What made linear light of the colours, and is to be undone.
    """

    pixels: NDArray[Any]
    full: float
    light: "images.Light | None" = None


def see(request: Request, job: Job, picture: Picture) -> Seen:
    """Return what is convolved: the pixels as stored, or the light that they stand for.

    In linear light white is 1, for a bias and a constant border as well.
    """
    if not request.linear:
        return Seen(picture.pixels, images.full_scale(picture.pixels.dtype))
    apart = job.header.alpha and job.alpha is not None
    colours = picture.pixels[..., :-1] if apart else picture.pixels
    light = images.curves(picture.metadata.icc, colours.shape[3])
    linear = light.to_linear(colours)
    if apart:
        full = images.full_scale(picture.pixels.dtype)
        opacity = picture.pixels[..., -1:].astype(np.float32) / np.float32(full)
        linear = np.concatenate([linear, opacity], axis=3)
    return Seen(linear, 1.0, light)


def compute(
    request: Request, job: Job, picture: Picture, *, threads: int | None = None
) -> tuple[NDArray[Any], NDArray[Any] | None, Outcome]:
    """Compute the pixels of one picture.

    Parameters
    ----------
    request : Request
    job : Job
    picture : Picture
    threads : int, optional
        Of the cpu engine: at most so many.

    Returns
    -------
    pixels : ndarray (N, OH, OW, channels)
        As the format stores them, alpha left out.
    opacity : ndarray (N, OH, OW, 1 or parts) or None
    outcome : Outcome
        What the responses were.
    """
    if request.stack is not None:
        from convtool.batch import stacked  # and with it all that stacks need

        return stacked.compute(request, job, picture, threads=threads)
    seen = see(request, job, picture)
    finish = _finish(request, job, seen)
    if finish is None:
        # Responses beyond float32 are infinite, which the report counts; NumPy need not warn too.
        with np.errstate(all="ignore"):
            responses, alpha = respond(request, job, seen, threads)
        pixels, clipped = _pixels(job, seen, responses)
        outcome = Outcome(*images.summary(responses), clipped, _light_name(seen))
        return pixels, _opacity(job, seen, alpha), outcome
    colour, kept = _colour_and_kept(job, seen)
    pixels, summary = engine.finished(
        colour,
        request.kernel.weights,
        job.plan,
        job.choice,
        finish,
        threads=threads,
        out=_canvas(job, finish),
    )
    assert summary is not None
    if seen.light is not None:
        pixels = seen.light.from_linear(pixels, job.depth)
    count = max(summary.values, 1)
    clipped = images.Clipped(summary.below / count, summary.above / count, summary.nan / count)
    found = summary.least, summary.greatest, summary.others
    outcome = Outcome(*found, clipped, _light_name(seen))
    alpha = _alpha(kept, job, 1) if kept is not None and job.has_alpha else None
    return pixels, _opacity(job, seen, alpha), outcome


def _light_name(seen: Seen) -> str:
    return seen.light.name if seen.light else ""


def _canvas(job: Job, finish: engine.Finish) -> NDArray[Any] | None:
    """Return the memory of a new picture for a result that is all of one, which is then no copy."""
    n, h, w, channels = job.output_shape
    whole = n == 1 and job.parts == 1 and not job.has_alpha and channels in (1, 3)
    if not whole or finish.dtype != "uint8" or job.format.name == "NPY" or not h * w:
        return None
    return images.canvas(h, w, channels)


def _finish(request: Request, job: Job, seen: Seen) -> engine.Finish | None:
    """Return what an engine does with its sums, where it can do all of it as it stores them."""
    if not (job.choice.compiled and fuses(job.plan, job.alpha, job.combine, job.range)):
        return None
    bias = request.kernel.bias if request.bias is None else request.bias
    return engine.Finish(
        bias=None if bias is None else np.resize(np.asarray(bias, np.float32), job.plan.filters),
        activation=request.activation,
        combine=job.combine,
        range=job.range,
        full_in=seen.full,
        full_out=_full_out(job, seen),
        dtype=DTYPES[Depth.FLOAT if seen.light else job.depth],
        summarise=True,
    )


def verify(request: Request, job: Job, picture: Picture, pixels: NDArray[Any]) -> Verified:
    """Compute a picture again with the reference engine, and compare.

    Returns
    -------
    Verified
        The largest difference of the responses, and of the pixels.
    """
    if request.stack is not None:
        from convtool.batch import stacked

        layers = [_compared(*pair) for pair in stacked.twice(request, job, picture)]
        return Verified(max(error for error, _ in layers), max(most for _, most in layers), None)
    seen = see(request, job, picture)
    plain = job.choice._replace(engine=EngineName.NUMPY, method=MethodName.GEMM)
    with np.errstate(all="ignore"):
        found, _ = respond(request, job, seen)
        expected, _ = respond(request, job._replace(choice=plain), seen)
        error, largest = _compared(found, expected)
    again, _ = _pixels(job, seen, expected)
    return Verified(error, largest, _difference(pixels, again))


def _compared(found: NDArray[np.generic], expected: NDArray[np.float32]) -> tuple[float, float]:
    """Return the largest difference, and the largest finite value that is expected."""
    largest = float(np.max(np.abs(expected), initial=0, where=np.isfinite(expected)))
    return _difference(found, expected), largest


def _difference(found: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    """Return the largest difference; infinity where only one of two is a finite number."""
    greatest = 0.0
    left, right = found.reshape(-1), expected.reshape(-1)
    for start in range(0, left.size, _BAND):
        a = left[start : start + _BAND].astype(np.float64)
        b = right[start : start + _BAND].astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        gap = np.where(same, 0.0, np.abs(a - b))
        greatest = max(greatest, float(np.nan_to_num(gap, nan=np.inf).max(initial=0)))
    return greatest


def respond(
    request: Request, job: Job, seen: Seen, threads: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Compute the combined responses of one picture.

    Returns
    -------
    colour : ndarray (N, OH, OW, channels), float32
        In the units of what is seen.
    alpha : ndarray (N, OH, OW, 1 or parts) or None
        Likewise, where the result has an alpha channel; one for each image that is written.
    """
    kernel, settled, full = request.kernel, job.plan, seen.full
    pixels, kept = _colour_and_kept(job, seen)
    if job.alpha is AlphaMode.PREMULTIPLY:
        opacity = pixels[..., -1:].astype(np.float32)
        colour = images.premultiply(pixels[..., :-1].astype(np.float32), opacity, full)
        pixels = np.concatenate([colour, opacity], axis=3)
    weights = kernel.weights
    y = engine.convolve(pixels, weights, settled, job.choice, threads=threads)
    if job.alpha is AlphaMode.PREMULTIPLY and settled.spec.border.mode is BorderMode.CONSTANT:
        # A border of one colour is opaque, where a zero border is nothing at all.
        opaque = settled.spec._replace(border=Border(BorderMode.CONSTANT, full))
        alone = plan(opaque, opacity.shape, settled.kernel_shape, settled.filters)
        cover = engine.convolve(opacity, weights, alone, job.choice, threads=threads)
        y[..., -settled.filters :] = cover
    filters = response_axes(settled, job.alpha)[1]
    y = y.reshape(*y.shape[:3], y.shape[3] // filters, filters)
    if job.alpha is AlphaMode.PREMULTIPLY:
        cover = np.divide(y[..., -1:, :], _whole_cover(kernel, settled), dtype=np.float32)
        y = images.unpremultiply(y[..., :-1, :], cover / np.float32(full))
        kept = cover[..., 0, :]
    y = activate(_biased(y, request), request.activation)
    if job.alpha is AlphaMode.FILTER:
        y, kept = y[..., :-1, :], y[..., -1, :]
    alpha = None if kept is None or not job.has_alpha else _alpha(kept, job, filters)
    return combine(y, job.combine), alpha


def _whole_cover(kernel: Kernel, settled: ConvPlan) -> NDArray[np.floating[Any]]:
    """Return what becomes of an alpha of 1: (F,), or one number for every output."""
    if settled.op is Op.CONV2D:
        return np.array(kernel.sums)
    return over_outputs(tap_sums(kernel, settled), settled)[:, :, None, :]


def _colour_and_kept(job: Job, seen: Seen) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """Take alpha away where it is not convolved; kept, it is read where the outputs lie."""
    pixels, settled = seen.pixels, job.plan
    kept: NDArray[np.float32] | None = None
    if job.alpha is AlphaMode.KEEP:
        places = (
            _nearest_pixels(settled.rows, settled.op),
            _nearest_pixels(settled.cols, settled.op),
        )
        kept = images.sample(pixels[..., -1:], *places).astype(np.float32)
    if job.alpha in (AlphaMode.KEEP, AlphaMode.DROP):
        pixels = pixels[..., :-1]
    return pixels, kept


def _nearest_pixels(axis: Axis, op: Op) -> NDArray[Any]:
    return nearest_inputs(axis) if op is Op.CONV2D_TRANSPOSE else np.array(axis.centres)


def _alpha(kept: NDArray[np.float32], job: Job, filters: int) -> NDArray[np.float32]:
    """Give every image its alpha, of the planes (N, OH, OW, 1 or F) that the filters have."""
    if job.combine is Combine.GRID:
        planes = np.broadcast_to(kept[..., None, :], (*kept.shape[:3], 1, filters))
        return combine(planes, Combine.GRID)
    # An image of one filter has that filter's alpha; one made of several, their mean.
    return kept if kept.shape[3] == job.parts else kept.mean(axis=3, keepdims=True)


def _biased(y: NDArray[np.float32], request: Request) -> NDArray[np.float32]:
    """Add one bias, or one per filter, to responses (N, OH, OW, K, F)."""
    bias = request.kernel.bias if request.bias is None else request.bias
    return y if bias is None else y + np.asarray(bias, np.float32)


def _pixels(
    job: Job, seen: Seen, responses: NDArray[np.float32]
) -> tuple[NDArray[Any], images.Clipped]:
    """Turn responses into what the format stores."""
    depth = Depth.FLOAT if seen.light else job.depth
    full_out = _full_out(job, seen)
    pixels, clipped = images.to_pixels(responses, job.range, depth, seen.full, full_out)
    return (seen.light.from_linear(pixels, job.depth) if seen.light else pixels), clipped


def _opacity(job: Job, seen: Seen, alpha: NDArray[Any] | None) -> NDArray[Any] | None:
    """Turn alpha into what the format stores; it is only ever clipped."""
    if alpha is None:
        return None
    raw_units = job.format.name == "NPY" or job.range is RangeMode.RAW
    full_out = seen.full if raw_units else images.full_scale(job.depth)
    return images.to_pixels(alpha, RangeMode.CLIP, job.depth, seen.full, full_out)[0]


def _full_out(job: Job, seen: Seen) -> float:
    """Return what stands for white behind the range; light is given its curve after that."""
    raw_units = job.format.name == "NPY" or job.range is RangeMode.RAW
    return seen.full if raw_units or seen.light else images.full_scale(job.depth)
