"""Names of outputs: templates filled in, and no path used twice."""

import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING

from convtool.batch.model import Failed, LeftOut, Request, Source, Target, Task
from convtool.errors import UsageError
from convtool.images import Format
from convtool.terms import IMAGE_SUFFIXES, Combine

if TYPE_CHECKING:
    from convtool.batch.stacked import Stacked

NUMBERS = ("index", "frame", "filter")
FIELDS = ("stem", "ext", "parent", "kernel", *NUMBERS)


def is_folder(output: str) -> bool:
    """Say whether outputs go into a folder under names of their own."""
    return output.endswith(("/", os.sep)) or os.path.isdir(output)


def targets_of(
    request: Request, source: Source, index: int, *, parts: int, frames: int, form: Format
) -> Iterator[Target]:
    """Name the outputs of one input: `parts` images, of `frames` frames each."""
    template = _template(request, source, parts, form)
    if template == "-":
        if parts > 1:
            raise UsageError(
                f"standard output takes one image, but the responses make {parts}",
                "use --format npy, or files with {filter} in their name",
            )
        yield Target(None)
        return
    fields = fields_of(template)
    if parts > 1 and "filter" not in fields:
        grid = ", or use --combine grid" if parts == request.kernel.filters else ""
        raise UsageError(
            f"the responses make {parts} images, but the output name {template} has no {{filter}}",
            f"put {{filter}} in the name{grid}, or write one .npy",
        )
    split = parts > 1 or "filter" in fields
    for frame in range(frames) if "frame" in fields else [None]:
        for part in range(parts) if split else [None]:
            name = _named(template, request, source, index, form, frame or 0, part or 0)
            yield Target(Path(name), frame, part)


def fixed_target(request: Request, source: Source, index: int) -> Target | None:
    """Name the output that a source would have, were it readable; None where that is open."""
    template = _template(request, source, 1)
    if template == "-":
        return None
    return Target(Path(_named(template, request, source, index, None, 0, 0)))


def _template(request: Request, source: Source, parts: int, form: Format | None = None) -> str:
    many = ".{filter}" if parts > 1 else ""
    ext = "{ext}"
    if request.stack is not None:
        ext = suffix_of_maps(request.stack, form.name if form else (source.path or Path()).suffix)
    name = f"{{stem}}.{{kernel}}{many}{ext}"
    if request.output is None:
        return "-" if source.path is None else f"{{parent}}/{name}"
    if is_folder(request.output):
        inside = str(source.inside).replace("{", "{{").replace("}", "}}")
        return os.path.join(request.output, inside, name)
    return request.output


def suffix_of_maps(stack: "Stacked", given: str) -> str:
    """Return how a stack's output ends where its name does not say it.

    One layer of an array is an array. All else is a contact sheet, in which writing stays sharp.

    Parameters
    ----------
    stack : Stacked
    given : str
        The suffix of the input, or its format.
    """
    array = given.lower().removeprefix(".") == "npy"
    return ".npy" if array and len(stack.shown) == 1 else ".png"


def _named(
    template: str,
    request: Request,
    source: Source,
    index: int,
    form: Format | None,
    frame: int,
    part: int,
) -> str:
    path = source.path or Path("stdin")
    return template.format(
        stem=path.stem,
        ext=path.suffix or (form.suffixes[0] if form else ""),
        parent=str(path.parent),
        kernel=safe(request.kernel.name),
        index=index,
        frame=frame,
        filter=part,
    )


def fields_of(template: str) -> set[str]:
    """Return the names in braces, checked.

    Raises
    ------
    UsageError
        For a name that is none, or a width where there is no number.
    """
    try:
        found = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise UsageError(
            f"the output name {template} cannot be read: {error}",
            "a field is closed with }, and a brace itself is {{ or }}",
        ) from None
    for name, width, conversion in found:
        if name not in FIELDS:
            raise UsageError(
                f"the output name has {{{name}}}, which is nothing",
                "what can stand there: " + " ".join(f"{{{field}}}" for field in FIELDS),
            )
        widths = r"0?\d{0,2}" if name in NUMBERS else ""
        if conversion or not re.fullmatch(widths, width or ""):
            raise UsageError(
                f"the output name has {{{name}{':' + width if width else ''}}}, which cannot be "
                "filled in",
                "fields look like {stem} or, for numbers up to 99 wide, {index:04}",
            )
    return {str(name) for name, _, _ in found}


def safe(name: str) -> str:
    """Make a kernel's name fit for a file name."""
    return re.sub(r"[^\w.+=-]+", "-", name)


def needs_header(request: Request, source: Source) -> bool:
    """Whether the names of an input's outputs depend on what is in it."""
    kernel = request.kernel
    several = len(kernel.shape) == 4 or (kernel.filters > 1 and request.combination is Combine.EACH)
    told_apart = fields_of(request.output or "") & {"frame", "filter"}
    picture = source.path is not None and source.path.suffix.lower() in IMAGE_SUFFIXES
    return several or bool(told_apart) or not picture


def without_own_outputs(
    request: Request, items: Sequence[Task | Failed | LeftOut]
) -> list[Task | Failed | LeftOut]:
    """Leave out inputs that the same command had written before, under names that it gives itself.

    Otherwise a tree could not be filtered in place twice, nor go on where it stopped. Only an
    output of another input is left out, and only what was found in a folder or by a pattern; or
    named, where --skip-existing sees to it that nothing is overwritten. All else is an input that
    must not be lost.
    """
    _real_folder.cache_clear()  # what it knows may be of another working folder
    if request.output is not None and not is_folder(request.output):
        return list(items)
    written = {
        _identity(target.path): item.source
        for item in items
        if isinstance(item, Task)
        for target in item.targets
        if target.path is not None and os.path.exists(target.path)
    }

    def is_own(item: Task | Failed | LeftOut) -> bool:
        by = written.get(_identity(item.source.path)) if written and item.source.path else None
        meant = item.source.found or request.skip_existing
        return meant and by is not None and by != item.source

    return [LeftOut(item.source) if is_own(item) else item for item in items]


def check_paths(request: Request, items: Sequence[Task | Failed | LeftOut]) -> None:
    """Refuse outputs on inputs, on kernels and on each other, links looked through.

    Inputs that cannot be read count too: they are not to be lost.
    """
    kept = {_identity(path): f"the kernel {path}" for path in request.kernel_files}
    for item in items:
        if item.source.path is not None and not isinstance(item, LeftOut):
            kept[_identity(item.source.path)] = f"the input {item.source.name}"
    taken: dict[object, str] = {}
    for number, item in enumerate(items):
        if isinstance(item, LeftOut):
            continue
        targets = item.targets if isinstance(item, Task) else ()
        if isinstance(item, Failed):
            fixed = fixed_target(request, item.source, number)
            targets = (fixed,) if fixed else ()
        for target in targets:
            if target.path is None:
                continue
            identity = _identity(target.path)
            if identity in kept:
                again = "--skip-existing passes over what an earlier run has written, or "
                raise UsageError(
                    f"the output {target.path} is {kept[identity]}, where the result of "
                    f"{item.source.name} would go",
                    ("" if kept[identity].startswith("the kernel") else again)
                    + "choose another name with -o, for example -o '{parent}/{stem}.{kernel}{ext}'",
                )
            if identity in taken:
                raise UsageError(
                    f"two outputs would be written to {target.path}: from {taken[identity]} and "
                    f"from {item.source.name}",
                    "tell them apart with {stem}, {parent}, {index}, {frame} or {filter} in -o",
                )
            taken[identity] = item.source.name


def _identity(path: Path) -> object:
    """Return what two names of one file share: its inode, or its real path if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        if sys.platform in ("win32", "darwin"):  # where A.png and a.png are one file
            name = unicodedata.normalize("NFC", name).casefold()
        return os.path.join(_real_folder(folder), name)
    return status.st_dev, status.st_ino


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)
