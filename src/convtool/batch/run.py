"""The work: read, convolve, write; an event for each input."""

import os
import sys
from math import prod
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool import images
from convtool.batch.compute import compute, verify
from convtool.batch.layout import BYTES
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
    Task,
)
from convtool.batch.prepare import Prepared
from convtool.batch.remarks import remarks
from convtool.batch.settle import Settler, reserved
from convtool.batch.workers import Crew, Lending
from convtool.engine.cores import cores
from convtool.errors import ConvtoolError, ImageError, UsageError
from convtool.geometry import Note, size_text
from convtool.images import Picture
from convtool.terms import Op

# What pictures that are worked on at a time may take of the memory of this machine.
SHARE_OF_MEMORY = 0.25

# At every moment some of those at work wait for a file or for the interpreter: with two more than
# there are cores a batch of JPEGs takes 5 % less.
WAITING = 2


def run(
    request: Request, prepared: Prepared, *, fail_fast: bool = False, jobs: int | None = None
) -> Crew[Event]:
    """Do what is prepared, several inputs at a time.

    Parameters
    ----------
    request : Request
    prepared : Prepared
    fail_fast : bool
        Begin nothing more after a failure.
    jobs : int, optional
        How many inputs at a time; a few more than there are cores. Their size may allow fewer.

    Returns
    -------
    Crew of Event
        One for each input, in order.
    """
    lending = Lending(_memory() * SHARE_OF_MEMORY)
    crew: Crew[Event]

    def do(item: Task | Failed | LeftOut) -> Event:
        if not isinstance(item, Task):
            return item
        # The cores are shared by those who are at work now: all are for the last one.
        threads = max((request.threads or cores()) // crew.busy, 1)
        return _attempt(request, prepared.settler, item, lending, threads)

    size = min(jobs or cores() + WAITING, len(prepared))
    # A picture and its result, for each of those at work.
    memory = images.recycling(2 * size) if len(prepared) > size else None
    crew = Crew(prepared, do, size, last=_is_failure if fail_fast else None, around=memory)
    return crew


def pretend(request: Request, prepared: Prepared) -> Crew[Event]:
    """Say what `run` would set out to do, and do nothing."""

    def do(item: Task | Failed | LeftOut) -> Event:
        return _attempt(request, prepared.settler, item) if isinstance(item, Task) else item

    return Crew(prepared, do, 1)


def _is_failure(event: Event) -> bool:
    return isinstance(event, Failed)


# Where Linux says how much of the machine's memory a container may have.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def _memory() -> float:
    """Return the memory of this machine in bytes, or of a small one where it does not say."""
    try:
        most = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        most = 4e9
    for path in _LIMITS:
        try:
            with open(path, encoding="ascii") as file:
                most = min(most, float(file.read()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return most


def _attempt(
    request: Request,
    settler: Settler,
    task: Task,
    lending: Lending | None = None,
    threads: int = 1,
) -> Event:
    """Do one input, unless its outputs are there already; without `lending`, only settle it."""
    # os.path: a name too long for the system is not there, and is no error before it is written.
    existing = tuple(one for one in task.targets if one.path and os.path.exists(one.path))
    if existing and request.skip_existing and len(existing) == len(task.targets):
        return Skipped(task.source, task.targets)
    size = ""
    try:
        if existing and request.no_clobber:
            raise ImageError(
                f"the output {existing[0].name} exists, and --no-clobber protects it",
                "leave out --no-clobber to overwrite, or use --skip-existing to pass over it",
            )
        source, most = task.source, request.max_pixels
        with images.opened(source.content, source.name, max_pixels=most) as file:
            if task.job is None:
                job = reserved(settler.job(source, task.number, file.header), task.targets)
            elif task.job.header == file.header:
                job = task.job
            else:
                raise ImageError("the file has changed while it was being worked on")
            size = f"{size_text(job.plan.input_shape)} to {size_text(job.output_shape)}"
            if existing and request.skip_existing:
                job = _only_missing(job, existing)
            if lending is None:
                return Planned(job)
            with lending.lend(_footprint(request, job)):
                return _do(request, job, file, threads)
    except ConvtoolError as error:
        return Failed(task.source, error)
    except MemoryError:
        return Failed(task.source, ImageError(f"not enough memory for {size}", _smaller(request)))


def _smaller(request: Request) -> str:
    """Say how the same work takes less memory."""
    if request.stack is not None:
        return "apply it to parts of the image, or show fewer layers (--show)"
    stride = "smaller" if request.spec.op is Op.CONV2D_TRANSPOSE else "larger"
    return f"apply it to parts of the image, or with a {stride} --stride"


def _only_missing(job: Job, existing: tuple[Target, ...]) -> Job:
    missing = tuple(target for target in job.targets if target not in existing)
    left = f"{len(existing)} of {len(job.targets)} outputs exist and are left as they are"
    return job._replace(targets=missing, notes=(*job.notes, Note("some-exist", left)))


def _footprint(request: Request, job: Job) -> float:
    """Return about how many bytes of memory a job takes at most."""
    n, h, w, c = job.header.shape
    stored = n * h * w * max(c, 4) * BYTES[job.header.depth]
    responses: float = prod(job.plan.output_shape) * 4
    if request.stack is not None:
        from convtool.batch import stacked

        responses = stacked.footprint(request, job)
    written = prod(job.output_shape[:3]) * max(job.output_shape[3], 4) * BYTES[job.depth]
    return 2.0 * (stored + responses + written)


def _do(request: Request, job: Job, file: images.Opened, threads: int) -> Done:
    started = perf_counter()
    picture = file.load()
    have_read = perf_counter()
    pixels, opacity, outcome = compute(request, job, picture, threads=threads)
    have_computed = perf_counter()
    verified = verify(request, job, picture, pixels) if request.verify else None
    begun_to_write = perf_counter()
    losses: dict[str, None] = {}
    merged = False
    for target in job.targets:
        part, metadata = _part(job, pixels, opacity, target), _metadata(job, picture, target)
        channels, frames = part.shape[3], part.shape[0]
        losses |= dict.fromkeys(
            images.losses(job.format, metadata, channels=channels, frames=frames, depth=job.depth)
        )
        merged |= job.format.timed and _has_equal_neighbours(part)
        data = images.encode(
            part,
            job.format,
            metadata,
            quality=request.quality,
            compress_level=request.compress_level,
        )
        if target.path is None:
            _to_stdout(data)
        else:
            images.write_atomically(target.path, data)
    full = 1.0 if request.linear else images.full_scale(picture.pixels.dtype)
    notes = (
        *job.notes,
        *(Note("converted", text) for text in picture.notes),
        *(Note("not-carried", text) for text in losses),
        *(
            (Note("merged-frames", "equal neighbouring frames became one that lasts longer"),)
            * merged
        ),
        *remarks(job, request.kernel, full, outcome),
    )
    return Done(
        job,
        outcome.minimum,
        outcome.maximum,
        outcome.clipped.share,
        have_read - started + file.seconds,
        have_computed - have_read,
        perf_counter() - begun_to_write,
        notes,
        verified,
    )


def _has_equal_neighbours(frames: NDArray[np.generic]) -> bool:
    return bool((frames[1:] == frames[:-1]).all(axis=(1, 2, 3)).any())


def _part(
    job: Job,
    pixels: NDArray[Any],
    opacity: NDArray[Any] | None,
    target: Target,
) -> NDArray[Any]:
    """Pick the frame and the filter that one output holds."""
    if target.filter is not None:
        # Channels are laid out c·F + f, so one filter's are every F-th.
        pixels = pixels[..., target.filter :: job.parts]
        if opacity is not None and opacity.shape[3] > 1:
            opacity = opacity[..., target.filter : target.filter + 1]
    if opacity is not None:
        pixels = np.concatenate([pixels, opacity], axis=3)
    return pixels if target.frame is None else pixels[target.frame : target.frame + 1]


def _metadata(job: Job, picture: Picture, target: Target) -> images.Metadata:
    metadata = picture.metadata
    if job.chain:  # a drawing of feature maps is not the photograph that they describe
        timing = metadata.durations, metadata.loop
        metadata = images.Metadata(metadata.format, durations=timing[0], loop=timing[1])
    return metadata if target.frame is None else metadata._replace(durations=(), loop=None)


def refuse_terminal() -> None:
    """Keep pictures from being written to a terminal as text."""
    if sys.stdout.isatty():
        raise UsageError(
            "standard output is a terminal, and an image is no text",
            "send it on with > file or |, or name a file with -o",
        )


def _to_stdout(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # who reads has seen enough
    except OSError as error:
        raise ImageError(f"standard output cannot be written: {error.strerror}") from None
