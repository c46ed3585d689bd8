"""Names of outputs: templates filled in, and no path used twice."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from convtool.batch.model import Job, Request, Source, Target
from convtool.errors import UsageError
from convtool.images import Format

FIELDS = ("stem", "ext", "parent", "kernel", "index", "frame", "filter")


def is_folder(output: str) -> bool:
    """Say whether outputs go into a folder under names of their own."""
    return output.endswith(("/", os.sep)) or os.path.isdir(output)


def targets_of(
    request: Request,
    source: Source,
    index: int,
    parts: int,
    form: Format,
    frames: int,
) -> Iterator[Target]:
    """Name the outputs of one input: `parts` images, of `frames` frames each."""
    template = request.output
    if template is None:
        template = "-" if source.path is None else "{parent}/{stem}.{kernel}{ext}"
        if parts > 1 and template != "-":
            template = "{parent}/{stem}.{kernel}.{filter}{ext}"
    if template == "-":
        if parts > 1:
            raise UsageError(
                f"standard output takes one image, but the responses make {parts}",
                "use --format npy, --combine grid, or files with {filter} in their name",
            )
        yield Target(None)
        return
    if is_folder(template):
        name = "{stem}.{kernel}.{filter}{ext}" if parts > 1 else "{stem}.{kernel}{ext}"
        template = os.path.join(template, source.inside, name)
    if parts > 1 and "{filter" not in template:
        raise UsageError(
            f"the responses make {parts} images, but the output name {template} has no {{filter}}",
            "put {filter} in the name, or use --combine grid, or write one .npy",
        )
    by_frame = "{frame" in template
    if frames > 1 and not by_frame and not form.frames:
        raise UsageError(
            f"{source.name} has {frames} frames and {form.name} holds one picture, but the "
            f"output name {template} has no {{frame}}",
            "put {frame} in the name, or write .gif, .webp, .tif or .npy",
        )
    path = source.path or Path("stdin")
    split = parts > 1 or "{filter" in template
    for frame in range(frames) if by_frame else [None]:
        for part in range(parts) if split else [None]:
            name = fill(
                template,
                stem=path.stem,
                ext=path.suffix or form.suffixes[0],
                parent=str(path.parent),
                kernel=safe(request.kernel.name),
                index=index,
                frame=frame or 0,
                filter=part or 0,
            )
            yield Target(Path(name), frame, part)


def fill(template: str, **values: object) -> str:
    """Put values into ``{name}`` and ``{name:04}``."""
    try:
        return template.format(**values)
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise UsageError(
            f"the output name {template} cannot be filled in: {error}",
            "fields look like {stem} or, for numbers, {index:04}; a brace itself is {{ or }}",
        ) from None


def safe(name: str) -> str:
    """Make a kernel's name fit for a file name."""
    return re.sub(r"[^\w.+=-]+", "-", name)


def check_paths(jobs: Sequence[Job]) -> None:
    """Refuse outputs on inputs and outputs on each other, links looked through."""
    inputs = {}
    for job in jobs:
        if job.source.path is not None:
            inputs[_identity(job.source.path)] = job.source.name
    taken: dict[object, str] = {}
    for job in jobs:
        for target in job.targets:
            if target.path is None:
                continue
            identity = _identity(target.path)
            if identity in inputs:
                raise UsageError(
                    f"the output {target.path} is the input {inputs[identity]}",
                    "choose another name with -o, for example -o '{parent}/{stem}.{kernel}{ext}'",
                )
            if identity in taken:
                raise UsageError(
                    f"two outputs would be written to {target.path}: from {taken[identity]} and "
                    f"from {job.source.name}",
                    "tell them apart with {stem}, {parent}, {index}, {frame} or {filter} in -o",
                )
            taken[identity] = job.source.name


def _identity(path: Path) -> object:
    """Return what two names of one file share: its inode, or its real path if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino
