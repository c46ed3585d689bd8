"""Before the work: every header read, every plan, type and path settled."""

import re
from collections.abc import Sequence
from dataclasses import replace

from convtool import engine, images
from convtool.batch.layout import arrange, output_format, output_suffix, settle_alpha, settle_depth
from convtool.batch.model import Failed, Job, Request, Source
from convtool.batch.naming import FIELDS, check_paths, targets_of
from convtool.errors import ConvtoolError, EngineError, GeometryError, ImageError, UsageError
from convtool.geometry import plan
from convtool.terms import AlphaMode


def prepare(request: Request, sources: Sequence[Source]) -> list[Job | Failed]:
    """Read every header; settle every plan and output path.

    Returns
    -------
    list of Job or Failed
        One for each source, in order.

    Raises
    ------
    UsageError
        Where an output would fall on an input or on another output, or the request is wrong
        whatever the input is.
    """
    _check_request(request, sources)
    prepared: list[Job | Failed] = []
    for index, source in enumerate(sources):
        try:
            prepared.append(_prepare_one(request, source, index))
        except (UsageError, EngineError):
            raise
        except ConvtoolError as error:
            prepared.append(Failed(source, error))
    jobs = [job for job in prepared if isinstance(job, Job)]
    check_paths(jobs)
    # The engine is chosen for all the work together: loading Numba pays once for every image.
    macs = sum(job.plan.macs for job in jobs)
    return [
        replace(job, choice=engine.choose(job.plan, request.engine, request.method, macs=macs))
        if isinstance(job, Job)
        else job
        for job in prepared
    ]


def _check_request(request: Request, sources: Sequence[Source]) -> None:
    bias, filters = request.bias, request.kernel.filters
    if bias is not None and len(bias) not in (1, filters):
        raise UsageError(
            f"--bias takes one number or one per filter: {request.kernel.name} has {filters} "
            f"filters, but {len(bias)} numbers are given"
        )
    if request.threads is not None and request.threads < 1:
        raise UsageError(f"--threads must be at least 1, but is {request.threads}")
    _check_output(request)
    if request.output == "-" and len(sources) > 1:
        raise UsageError(
            f"standard output takes one image, but there are {len(sources)} inputs",
            "give one input, or write files with -o '{stem}.{kernel}{ext}'",
        )


def _check_output(request: Request) -> None:
    for name in re.findall(r"{([^}:]*)", request.output or ""):
        if name not in FIELDS:
            raise UsageError(
                f"the output name has {{{name}}}, which is nothing",
                "what can stand there: " + " ".join(f"{{{field}}}" for field in FIELDS),
            )
    suffix = output_suffix(request)
    try:
        if suffix is not None:
            images.format_of(suffix)
        if request.format:
            images.format_of(request.format)
    except ImageError as error:
        raise UsageError(error.message, error.hint) from None
    if request.format and request.output not in (None, "-"):
        raise UsageError(
            "--format is for standard output; a file's name says its own format",
            "end the output name in .png, .jpg, .tif, .webp, .npy, …",
        )


def _prepare_one(request: Request, source: Source, index: int) -> Job:
    header = images.probe(source.content, source.name, max_pixels=request.max_pixels)
    kernel, alpha = request.kernel, settle_alpha(request, header)
    n, h, w, channels = header.shape
    if alpha in (AlphaMode.KEEP, AlphaMode.DROP):
        channels -= 1
    try:
        settled = plan(request.spec, (n, h, w, channels), kernel.shape, filters=kernel.filters)
    except GeometryError as error:
        if header.alpha and channels == header.shape[3] and "channels" in error.message:
            error = GeometryError(error.message, f"{error.hint}, or --alpha drop")
        raise error from None
    result_format = output_format(request, source, header)
    arranged = arrange(request, header, settled, alpha, result_format)
    targets = tuple(targets_of(request, source, index, arranged.parts, result_format, n))
    depth, mode, notes = settle_depth(request, header, result_format)
    images.check(
        result_format,
        channels=arranged.channels_per_image + arranged.alpha,
        alpha=arranged.alpha,
        depth=depth,
        frames=1 if targets[0].frame is not None else n,
    )
    return Job(
        source,
        header,
        settled,
        alpha,
        request.combination,
        mode,
        depth,
        result_format,
        arranged.shape,
        arranged.parts,
        targets,
        engine.choose(settled, request.engine, request.method),
        (*settled.notes, *notes),
    )
