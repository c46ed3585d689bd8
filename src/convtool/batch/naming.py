"""Names of outputs: templates filled in, and no path used twice."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Formatter

from convtool.batch.model import Failed, Job, Request, Source, Target
from convtool.errors import UsageError
from convtool.images import Format

FIELDS = ("stem", "ext", "parent", "kernel", "index", "frame", "filter")


def is_folder(output: str) -> bool:
    """Say whether outputs go into a folder under names of their own."""
    return output.endswith(("/", os.sep)) or os.path.isdir(output)


def targets_of(
    request: Request, source: Source, index: int, *, parts: int, frames: int, form: Format
) -> Iterator[Target]:
    """Name the outputs of one input: `parts` images, of `frames` frames each."""
    template = _template(request, source, parts)
    if template == "-":
        if parts > 1:
            raise UsageError(
                f"standard output takes one image, but the responses make {parts}",
                "use --format npy, --combine grid, or files with {filter} in their name",
            )
        yield Target(None)
        return
    if parts > 1 and "{filter" not in template:
        raise UsageError(
            f"the responses make {parts} images, but the output name {template} has no {{filter}}",
            "put {filter} in the name, or use --combine grid, or write one .npy",
        )
    split = parts > 1 or "{filter" in template
    for frame in range(frames) if "{frame" in template else [None]:
        for part in range(parts) if split else [None]:
            name = _named(template, request, source, index, form, frame or 0, part or 0)
            yield Target(Path(name), frame, part)


def fixed_target(request: Request, source: Source, index: int) -> Target | None:
    """Name the output that a source would have, were it readable; None where that is open."""
    template = _template(request, source, 1)
    if template == "-":
        return None
    return Target(Path(_named(template, request, source, index, None, 0, 0)))


def _template(request: Request, source: Source, parts: int) -> str:
    many = ".{filter}" if parts > 1 else ""
    name = f"{{stem}}.{{kernel}}{many}{{ext}}"
    if request.output is None:
        return "-" if source.path is None else f"{{parent}}/{name}"
    if is_folder(request.output):
        inside = str(source.inside).replace("{", "{{").replace("}", "}}")
        return os.path.join(request.output, inside, name)
    return request.output


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
    return fill(
        template,
        stem=path.stem,
        ext=path.suffix or (form.suffixes[0] if form else ""),
        parent=str(path.parent),
        kernel=safe(request.kernel.name),
        index=index,
        frame=frame,
        filter=part,
    )


def fill(template: str, **values: object) -> str:
    """Put values into ``{name}`` and ``{name:04}``."""
    try:
        return template.format(**values)
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise UsageError(
            f"the output name {template} cannot be filled in: {error}",
            "fields look like {stem} or, for numbers, {index:04}; a brace itself is {{ or }}",
        ) from None


def fields_of(template: str) -> list[str]:
    """Return the names in braces."""
    try:
        return [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise UsageError(
            f"the output name {template} cannot be read: {error}",
            "a field is closed with }, and a brace itself is {{ or }}",
        ) from None


def safe(name: str) -> str:
    """Make a kernel's name fit for a file name."""
    return re.sub(r"[^\w.+=-]+", "-", name)


def without_own_outputs(prepared: Sequence[Job | Failed]) -> list[Job | Failed]:
    """Leave out what --recursive found but an earlier run of the same command had written.

    Otherwise a tree could not be filtered in place twice, nor go on where it stopped.
    """
    written = {
        _identity(target.path)
        for job in prepared
        if isinstance(job, Job)
        for target in job.targets
        if target.path is not None and target.path.exists()
    }
    return [
        one
        for one in prepared
        if not (one.source.found and one.source.path and _identity(one.source.path) in written)
    ]


def check_paths(request: Request, prepared: Sequence[Job | Failed]) -> None:
    """Refuse outputs on inputs, on kernels and on each other, links looked through.

    Inputs that cannot be read count too: they are not to be lost.
    """
    kept = {_identity(path): f"the kernel {path}" for path in request.kernel_files}
    for one in prepared:
        if one.source.path is not None:
            kept[_identity(one.source.path)] = f"the input {one.source.name}"
    taken: dict[object, str] = {}
    for index, one in enumerate(prepared):
        if isinstance(one, Job):
            targets = one.targets
        else:
            fixed = fixed_target(request, one.source, index)
            targets = (fixed,) if fixed else ()
        for target in targets:
            if target.path is None:
                continue
            identity = _identity(target.path)
            if identity in kept:
                raise UsageError(
                    f"the output {target.path} is {kept[identity]}",
                    "choose another name with -o, for example -o '{parent}/{stem}.{kernel}{ext}'",
                )
            if identity in taken:
                raise UsageError(
                    f"two outputs would be written to {target.path}: from {taken[identity]} and "
                    f"from {one.source.name}",
                    "tell them apart with {stem}, {parent}, {index}, {frame} or {filter} in -o",
                )
            taken[identity] = one.source.name


def _identity(path: Path) -> object:
    """Return what two names of one file share: its inode, or its real path if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino
