"""Before the work: the request checked, every output named, and none of them on a file to keep."""

import os
from collections.abc import Sequence

from convtool import engine, images
from convtool.batch.layout import output_suffix
from convtool.batch.model import Failed, LeftOut, Request, Source, Task
from convtool.batch.naming import (
    check_paths,
    fields_of,
    fixed_target,
    needs_header,
    without_own_outputs,
)
from convtool.batch.settle import Settler
from convtool.errors import ConvtoolError, EngineError, ImageError, UsageError


class Prepared(Sequence[Task | Failed | LeftOut]):
    """Everything that is to be done, one item for each input, in order.

    Parameters
    ----------
    items : list of Task, Failed or LeftOut
    settler : Settler
        Which goes on with the inputs whose headers are not read yet.
    """

    def __init__(self, items: list[Task | Failed | LeftOut], settler: Settler) -> None:
        self.items = items
        self.settler = settler

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Task | Failed | LeftOut:  # type: ignore[override]
        return self.items[number]

    @property
    def to_stdout(self) -> bool:
        """Whether an output goes to standard output."""
        return any(
            isinstance(item, Task) and any(target.path is None for target in item.targets)
            for item in self.items
        )


def prepare(request: Request, sources: Sequence[Source]) -> Prepared:
    """Check the request and name every output.

    Headers are read of one input, so that what is wrong with the request shows before any work,
    and of those whose outputs cannot be named otherwise. The others are left to the work itself:
    a batch of ten thousand begins at once.

    Raises
    ------
    UsageError
        Where an output would fall on an input or on another output, or the request is wrong
        whatever the input is.
    """
    _check_request(request, sources)
    settler = Settler(request, len(sources))
    items: list[Task | Failed | LeftOut] = []
    tried = False
    for number, source in enumerate(sources):
        item: Task | Failed
        if tried and not source.problem and not needs_header(request, source):
            fixed = fixed_target(request, source, number)
            item = Task(source, number, (fixed,) if fixed else ())
        else:
            item = _look(settler, source, number)
            tried = tried or isinstance(item, Task)
        items.append(item)
    items = without_own_outputs(request, items)
    check_paths(request, items)
    return Prepared(items, settler)


def _look(settler: Settler, source: Source, number: int) -> Task | Failed:
    """Read a header; what is wrong with that input alone is its failure."""
    request = settler.request
    try:
        if source.problem:
            raise ImageError(source.problem)
        header = images.probe(source.content, source.name, max_pixels=request.max_pixels)
        job = settler.job(source, number, header)
    except (UsageError, EngineError):
        raise
    except ConvtoolError as error:
        return Failed(source, error)
    return Task(source, number, job.targets, job)


def _check_request(request: Request, sources: Sequence[Source]) -> None:
    bias, filters = request.bias, request.kernel.filters
    if bias is not None and len(bias) not in (1, filters):
        raise UsageError(
            f"--bias takes one number or one per filter: {request.kernel.name} has {filters} "
            f"filters, but {len(bias)} numbers are given"
        )
    engine.check_threads(request.threads)
    engine.check_device(request.device)
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
            hint = error.hint if named else f"{error.hint}, or -o {request.output}/ for a folder"
            raise UsageError(error.message, hint) from None
    folder = (request.output or "").rstrip("/" + os.sep)
    if folder != request.output and os.path.lexists(folder) and not os.path.isdir(folder):
        raise UsageError(
            f"-o {request.output} is meant as a folder, but {folder} is a file",
            "choose another folder, or leave the slash out for a file",
        )
