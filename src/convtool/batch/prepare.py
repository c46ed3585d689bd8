"""Before the work: every header read, every plan, type and path settled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from convtool import engine, images
from convtool.batch.layout import (
    arrange,
    holds_frames,
    output_format,
    output_suffix,
    settle_alpha,
    settle_depth,
)
from convtool.batch.model import Failed, Job, LeftOut, Request, Source
from convtool.batch.naming import check_paths, fields_of, targets_of, without_own_outputs
from convtool.errors import ConvtoolError, EngineError, ImageError, UsageError
from convtool.geometry import ConvPlan, Note, plan
from convtool.images import Header
from convtool.terms import AlphaMode, Depth

T = TypeVar("T")


def prepare(request: Request, sources: Sequence[Source]) -> list[Job | Failed | LeftOut]:
    """Read every header; settle every plan and output path.

    Returns
    -------
    list of Job, Failed or LeftOut
        One for each source, in order.

    Raises
    ------
    UsageError
        Where an output would fall on an input or on another output, or the request is wrong
        whatever the input is.
    """
    _check_request(request, sources)
    settled = [_attempt(_settle, request, source) for source in sources]
    # The engine is chosen for all the work together: loading Numba pays once for every image.
    macs = sum(one.plan.macs for one in settled if isinstance(one, _Settled))
    prepared = [
        one if isinstance(one, Failed) else _attempt(_job, request, one, index, macs)
        for index, one in enumerate(settled)
    ]
    kept = without_own_outputs(request, prepared)
    check_paths(request, kept)
    return kept


def _attempt(
    step: Callable[..., T], request: Request, subject: "Source | _Settled", *more: int
) -> T | Failed:
    """Take a step for one input; what is wrong with that input alone is its failure."""
    source = subject if isinstance(subject, Source) else subject.source
    try:
        return step(request, subject, *more)
    except (UsageError, EngineError):
        raise
    except ConvtoolError as error:
        return Failed(source, error)


def _check_request(request: Request, sources: Sequence[Source]) -> None:
    bias, filters = request.bias, request.kernel.filters
    if bias is not None and len(bias) not in (1, filters):
        raise UsageError(
            f"--bias takes one number or one per filter: {request.kernel.name} has {filters} "
            f"filters, but {len(bias)} numbers are given"
        )
    engine.check_threads(request.threads)
    _check_output(request, sources)
    if request.output == "-" and len(sources) > 1:
        raise UsageError(
            f"standard output takes one image, but there are {len(sources)} inputs",
            "give one input, or write files with -o '{stem}.{kernel}{ext}'",
        )


def _check_output(request: Request, sources: Sequence[Source]) -> None:
    fields_of(request.output or "")
    to_files = request.output not in (None, "-")
    if request.format and (to_files or (request.output is None and any(s.path for s in sources))):
        raise UsageError(
            "--format is for standard output; a file's name says its own format",
            "end the output name in .png, .jpg, .tif, .webp, .npy, …",
        )
    for named in (output_suffix(request), request.format):
        try:
            if named is not None:
                images.format_of(named)
        except ImageError as error:
            raise UsageError(error.message, error.hint) from None


@dataclass(frozen=True)
class _Settled:
    """An input whose header is read and whose convolution is planned."""

    source: Source
    header: Header
    alpha: AlphaMode | None
    plan: ConvPlan


def _settle(request: Request, source: Source) -> _Settled:
    if source.problem:
        raise ImageError(f"the folder cannot be looked into: {source.problem}")
    header = images.probe(source.content, source.name, max_pixels=request.max_pixels)
    kernel, alpha = request.kernel, settle_alpha(request, header)
    n, h, w, channels = header.shape
    if alpha in (AlphaMode.KEEP, AlphaMode.DROP):
        channels -= 1
    settled = plan(request.spec, (n, h, w, channels), kernel.shape, filters=kernel.filters)
    return _Settled(source, header, alpha, settled)


def _job(request: Request, settled: _Settled, index: int, macs: int) -> Job:
    source, header, alpha = settled.source, settled.header, settled.alpha
    frames = header.shape[0]
    form = output_format(request, source, header)
    arranged = arrange(request, settled.plan, alpha, form)
    depth, mode, notes = settle_depth(request, header, form)
    targets = tuple(
        targets_of(request, source, index, parts=arranged.parts, frames=frames, form=form)
    )
    together = frames if targets[0].frame is None else 1
    if together > 1 and not holds_frames(form, targets[0].name, header):
        raise UsageError(
            f"{source.name} has {frames} frames and {form.name} holds one picture, but the "
            f"output name {targets[0].name} has no {{frame}}",
            "put {frame} in the name, or write .gif, .webp, .apng, .tif or .npy",
        )
    images.check(
        form,
        channels=arranged.colours + arranged.alpha,
        alpha=arranged.alpha,
        depth=depth,
        frames=together,
    )
    if alpha not in (None, AlphaMode.DROP) and not arranged.alpha:
        alpha = AlphaMode.DROP
        notes += (
            Note("alpha-dropped", "feature maps have no alpha: that of the input is left out"),
        )
    return Job(
        source=source,
        header=header,
        plan=settled.plan,
        alpha=alpha,
        combine=request.combination,
        range=mode,
        depth=depth,
        format=form,
        output_shape=arranged.shape,
        has_alpha=arranged.alpha,
        parts=arranged.parts,
        targets=targets,
        choice=engine.choose(
            settled.plan,
            request.engine,
            request.method,
            weights=request.kernel.weights,
            threads=request.threads,
            macs=macs,
            dtype={Depth.EIGHT: "uint8", Depth.SIXTEEN: "uint16"}.get(header.depth, "float32"),
        ),
        notes=(*settled.plan.notes, *notes),
    )
