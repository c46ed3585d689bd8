"""The work: read, convolve, write; an event for each input."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from convtool import engine, images
from convtool.batch.layout import response_axes
from convtool.batch.model import (
    Done,
    Event,
    Failed,
    Job,
    LeftOut,
    Planned,
    Request,
    Skipped,
    Target,
    Verified,
)
from convtool.batch.remarks import Outcome, remarks
from convtool.errors import ConvtoolError, ImageError, UsageError
from convtool.geometry import Border, Note, plan, size_text
from convtool.images import Picture
from convtool.responses import activate, combine
from convtool.terms import (
    AlphaMode,
    BorderMode,
    Combine,
    Depth,
    EngineName,
    MethodName,
    RangeMode,
)

# Values compared at a time: temporaries stay small.
_BAND = 1 << 18


def run(
    request: Request, prepared: Iterable[Job | Failed | LeftOut], *, fail_fast: bool = False
) -> Iterator[Event]:
    """Do the prepared jobs, one after the other.

    Yields
    ------
    Event
        One for each input, in order; after a failure nothing more with `fail_fast`.
    """
    for job in prepared:
        event = _attempt(request, job, _do) if isinstance(job, Job) else job
        yield event
        if fail_fast and isinstance(event, Failed):
            return


def pretend(request: Request, prepared: Iterable[Job | Failed | LeftOut]) -> Iterator[Event]:
    """Yield what `run` would set out to do, and do nothing."""
    for job in prepared:
        yield _attempt(request, job, lambda _, job: Planned(job)) if isinstance(job, Job) else job


def _attempt(request: Request, job: Job, do: Callable[[Request, Job], Event]) -> Event:
    """Do a job, unless its outputs are there already."""
    # os.path: a name too long for the system is not there, and is no error before it is written.
    existing = [target for target in job.targets if target.path and os.path.exists(target.path)]
    if existing and request.skip_existing:
        missing = tuple(target for target in job.targets if target not in existing)
        if not missing:
            return Skipped(job)
        left = f"{len(existing)} of {len(job.targets)} outputs exist and are left as they are"
        job = replace(job, targets=missing, notes=(*job.notes, Note("some-exist", left)))
    try:
        if existing and request.no_clobber:
            raise ImageError(
                f"the output {existing[0].name} exists, and --no-clobber protects it",
                "leave out --no-clobber to overwrite, or use --skip-existing to pass over it",
            )
        return do(request, job)
    except ConvtoolError as error:
        return Failed(job.source, error)
    except MemoryError:
        return Failed(
            job.source,
            ImageError(
                f"not enough memory for {size_text(job.plan.input_shape)} to "
                f"{size_text(job.output_shape)}",
                "apply it to parts of the image, or with a larger --stride",
            ),
        )


def _do(request: Request, job: Job) -> Done:
    started = perf_counter()
    picture = images.read(job.source.content, job.source.name, max_pixels=request.max_pixels)
    if picture.header != job.header:
        raise ImageError("the file has changed while it was being worked on")
    have_read = perf_counter()
    pixels, opacity, outcome = compute(request, job, picture)
    have_computed = perf_counter()
    verified = verify(request, job, picture, pixels) if request.verify else None
    begun_to_write = perf_counter()
    losses: tuple[str, ...] = ()
    merged = False
    for target in job.targets:
        part, metadata = _part(job, pixels, opacity, target), _metadata(picture, target)
        losses = images.losses(
            job.format, metadata, channels=part.shape[3], frames=part.shape[0], depth=job.depth
        )
        merged |= job.format.timed and _has_equal_neighbours(part)
        data = images.encode(part, job.format, metadata, quality=request.quality)
        if target.path is None:
            _to_stdout(data)
        else:
            images.write_atomically(target.path, data)
    notes = (
        *job.notes,
        *(Note("converted", text) for text in picture.notes),
        *(Note("not-carried", text) for text in losses),
        *(
            (Note("merged-frames", "equal neighbouring frames became one that lasts longer"),)
            * merged
        ),
        *remarks(job, request.kernel, _full(picture), outcome),
    )
    return Done(
        job,
        outcome.minimum,
        outcome.maximum,
        outcome.clipped.share,
        have_read - started,
        have_computed - have_read,
        perf_counter() - begun_to_write,
        notes,
        verified,
    )


def compute(
    request: Request, job: Job, picture: Picture
) -> tuple[NDArray[np.generic], NDArray[np.generic] | None, Outcome]:
    """Compute the pixels of one picture.

    Returns
    -------
    pixels : ndarray (N, OH, OW, channels)
        As the format stores them, alpha left out.
    opacity : ndarray (N, OH, OW, 1 or parts) or None
    outcome : Outcome
        What the responses were.
    """
    finish = _finish(request, job, picture)
    if finish is not None:
        colour, kept = _colour_and_kept(job, picture)
        pixels, summary = engine.finished(
            colour,
            request.kernel.weights,
            job.plan,
            job.choice,
            finish,
            threads=request.threads,
        )
        assert summary is not None
        count = max(summary.values, 1)
        clipped = images.Clipped(summary.below / count, summary.above / count, summary.nan / count)
        outcome = Outcome(summary.least, summary.greatest, summary.others, clipped)
        alpha = _alpha(kept, job, 1) if kept is not None and job.has_alpha else None
        return pixels, _opacity(job, picture, alpha), outcome
    # Responses beyond float32 are infinite, which the report counts; NumPy need not warn as well.
    with np.errstate(all="ignore"):
        responses, alpha = respond(request, job, picture)
    pixels, clipped = _pixels(job, picture, responses)
    return (
        pixels,
        _opacity(job, picture, alpha),
        Outcome(*images.summary(responses), clipped),
    )


def _finish(request: Request, job: Job, picture: Picture) -> engine.Finish | None:
    """Return what the cpu engine does with its sums, where it can do all of it as it stores them.

    Not where the colour is freed of its alpha, where all responses must be seen before the first
    is stored, or where filters across channels are combined.
    """
    across = job.combine is not Combine.EACH and not job.plan.per_channel
    if (
        job.choice.engine is not EngineName.CPU
        or job.alpha in (AlphaMode.PREMULTIPLY, AlphaMode.FILTER)
        or job.range is RangeMode.STRETCH
        or job.combine is Combine.GRID
        or across
    ):
        return None
    bias = request.kernel.bias if request.bias is None else request.bias
    full_in = _full(picture)
    return engine.Finish(
        bias=None if bias is None else np.resize(np.asarray(bias, np.float32), job.plan.filters),
        activation=request.activation,
        combine=job.combine,
        range=job.range,
        full_in=full_in,
        full_out=_full_out(job, picture),
        dtype=_DTYPES[job.depth],
        summarise=True,
    )


_DTYPES = {Depth.EIGHT: "uint8", Depth.SIXTEEN: "uint16", Depth.FLOAT: "float32"}


def verify(request: Request, job: Job, picture: Picture, pixels: NDArray[np.generic]) -> Verified:
    """Compute a picture again with the reference engine, and compare.

    Returns
    -------
    Verified
        The largest difference of the responses, and of the pixels.
    """
    reference = replace(
        job, choice=replace(job.choice, engine=EngineName.NUMPY, method=MethodName.GEMM)
    )
    with np.errstate(all="ignore"):
        found, _ = respond(request, job, picture)
        expected, _ = respond(request, reference, picture)
        error = _difference(found, expected)
        largest = float(np.max(np.abs(expected), initial=0, where=np.isfinite(expected)))
    again, _ = _pixels(job, picture, expected)
    return Verified(error, largest, _difference(pixels, again))


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
    request: Request, job: Job, picture: Picture
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Compute the combined responses of one picture.

    Returns
    -------
    colour : ndarray (N, OH, OW, channels), float32
        In the units of the picture.
    alpha : ndarray (N, OH, OW, 1 or parts) or None
        Likewise, where the result has an alpha channel; one for each image that is written.
    """
    full = _full(picture)
    kernel, settled = request.kernel, job.plan
    pixels, kept = _colour_and_kept(job, picture)
    if job.alpha is AlphaMode.PREMULTIPLY:
        opacity = pixels[..., -1:].astype(np.float32)
        colour = images.premultiply(pixels[..., :-1].astype(np.float32), opacity, full)
        pixels = np.concatenate([colour, opacity], axis=3)
    weights, threads = kernel.weights, request.threads
    y = engine.convolve(pixels, weights, settled, job.choice, threads=threads)
    if job.alpha is AlphaMode.PREMULTIPLY and settled.spec.border.mode is BorderMode.CONSTANT:
        # A border of one colour is opaque, where a zero border is nothing at all.
        opaque = settled.spec._replace(border=Border(BorderMode.CONSTANT, full))
        alone = plan(opaque, opacity.shape, settled.kernel_shape, settled.filters)
        cover = engine.convolve(opacity, weights, alone, job.choice, threads=threads)
        y[..., -settled.filters :] = cover
    filters = response_axes(settled, job.alpha)[1]
    y = y.reshape(*y.shape[:3], -1, filters)
    if job.alpha is AlphaMode.PREMULTIPLY:
        cover = np.divide(y[..., -1:, :], kernel.sums, dtype=np.float32)
        y = images.unpremultiply(y[..., :-1, :], cover / np.float32(full))
        kept = cover[..., 0, :]
    y = activate(_biased(y, request), request.activation)
    if job.alpha is AlphaMode.FILTER:
        y, kept = y[..., :-1, :], y[..., -1, :]
    alpha = None if kept is None or not job.has_alpha else _alpha(kept, job, filters)
    return combine(y, job.combine), alpha


def _colour_and_kept(
    job: Job, picture: Picture
) -> tuple[NDArray[np.generic], NDArray[np.float32] | None]:
    """Take alpha away where it is not convolved; kept, it is read at the windows' centres."""
    pixels, settled = picture.pixels, job.plan
    kept: NDArray[np.float32] | None = None
    if job.alpha is AlphaMode.KEEP:
        centres = (np.array(settled.rows.centres), np.array(settled.cols.centres))
        kept = images.sample(pixels[..., -1:], *centres).astype(np.float32)
    if job.alpha in (AlphaMode.KEEP, AlphaMode.DROP):
        pixels = pixels[..., :-1]
    return pixels, kept


def _alpha(kept: NDArray[np.float32], job: Job, filters: int) -> NDArray[np.float32]:
    """Give every image its alpha, of the planes (N, OH, OW, 1 or F) that the filters have."""
    if job.combine is Combine.GRID:
        planes = np.broadcast_to(kept[..., None, :], (*kept.shape[:3], 1, filters))
        return combine(planes, Combine.GRID)
    # An image of one filter has that filter's alpha; one made of several, their mean.
    return kept if kept.shape[3] == job.parts else kept.mean(axis=3, keepdims=True)


def _has_equal_neighbours(frames: NDArray[np.generic]) -> bool:
    return bool((frames[1:] == frames[:-1]).all(axis=(1, 2, 3)).any())


def _biased(y: NDArray[np.float32], request: Request) -> NDArray[np.float32]:
    """Add one bias, or one per filter, to responses (N, OH, OW, K, F)."""
    bias = request.kernel.bias if request.bias is None else request.bias
    return y if bias is None else y + np.asarray(bias, np.float32)


def _pixels(
    job: Job, picture: Picture, responses: NDArray[np.float32]
) -> tuple[NDArray[np.generic], images.Clipped]:
    """Turn responses into what the format stores."""
    return images.to_pixels(
        responses, job.range, job.depth, _full(picture), _full_out(job, picture)
    )


def _opacity(
    job: Job, picture: Picture, alpha: NDArray[np.float32] | None
) -> NDArray[np.generic] | None:
    """Turn alpha into what the format stores; it is only ever clipped."""
    if alpha is None:
        return None
    full_out = _full_out(job, picture)
    return images.to_pixels(alpha, RangeMode.CLIP, job.depth, _full(picture), full_out)[0]


def _full_out(job: Job, picture: Picture) -> float:
    raw_units = job.format.name == "NPY" or job.range is RangeMode.RAW
    return _full(picture) if raw_units else images.full_scale(job.depth)


def _full(picture: Picture) -> float:
    return images.full_scale(picture.pixels.dtype)


def _part(
    job: Job,
    pixels: NDArray[np.generic],
    opacity: NDArray[np.generic] | None,
    target: Target,
) -> NDArray[np.generic]:
    """Pick the frame and the filter that one output holds."""
    if target.filter is not None:
        # Channels are laid out c·F + f, so one filter's are every F-th.
        pixels = pixels[..., target.filter :: job.parts]
        if opacity is not None and opacity.shape[3] > 1:
            opacity = opacity[..., target.filter : target.filter + 1]
    if opacity is not None:
        pixels = np.concatenate([pixels, opacity], axis=3)
    return pixels if target.frame is None else pixels[target.frame : target.frame + 1]


def _metadata(picture: Picture, target: Target) -> images.Metadata:
    if target.frame is None:
        return picture.metadata
    return replace(picture.metadata, durations=(), loop=None)


def refuse_terminal() -> None:
    """Keep pictures from being written to a terminal as text."""
    if sys.stdout.isatty():
        raise UsageError(
            "standard output is a terminal, and an image is no text",
            "send it on with > file or |, or name a file with -o",
        )


def _to_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
