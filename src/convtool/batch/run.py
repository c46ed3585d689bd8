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
)
from convtool.batch.remarks import Outcome, remarks
from convtool.errors import ConvtoolError, ImageError, UsageError
from convtool.geometry import Border, Note, plan, size_text
from convtool.images import Picture
from convtool.responses import activate, combine
from convtool.terms import AlphaMode, BorderMode, Combine, RangeMode


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
    # Responses beyond float32 are infinite, which the report counts; NumPy need not warn as well.
    with np.errstate(all="ignore"):
        colour, alpha = respond(request, job, picture)
    pixels, opacity, clipped = _pixels(job, picture, colour, alpha)
    outcome = Outcome(*images.summary(colour), clipped)
    have_computed = perf_counter()
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
        clipped.share,
        have_read - started,
        have_computed - have_read,
        perf_counter() - have_computed,
        notes,
    )


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
    pixels, full = picture.pixels, _full(picture)
    kernel, settled = request.kernel, job.plan
    kept: NDArray[np.float32] | None = None
    if job.alpha in (AlphaMode.KEEP, AlphaMode.DROP):
        if job.alpha is AlphaMode.KEEP:
            centres = (np.array(settled.rows.centres), np.array(settled.cols.centres))
            kept = images.sample(pixels[..., -1:], *centres).astype(np.float32)
        pixels = pixels[..., :-1]
    elif job.alpha is AlphaMode.PREMULTIPLY:
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
    job: Job, picture: Picture, colour: NDArray[np.float32], alpha: NDArray[np.float32] | None
) -> tuple[NDArray[np.generic], NDArray[np.generic] | None, images.Clipped]:
    """Turn responses into what the format stores; alpha is only ever clipped."""
    full_in = _full(picture)
    raw_units = job.format.name == "NPY" or job.range is RangeMode.RAW
    full_out = full_in if raw_units else images.full_scale(job.depth)
    pixels, clipped = images.to_pixels(colour, job.range, job.depth, full_in, full_out)
    if alpha is None:
        return pixels, None, clipped
    opacity, _ = images.to_pixels(alpha, RangeMode.CLIP, job.depth, full_in, full_out)
    return pixels, opacity, clipped


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
