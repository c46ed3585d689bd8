"""Finding presets: TOML files in the person's own folder, then in the project's."""

import os
from pathlib import Path
from typing import NamedTuple

from convtool.errors import KernelError, did_you_mean
from convtool.kernels import definition
from convtool.kernels.definition import Definition
from convtool.kernels.reading import LineError, Problem, read_text


class Entry(NamedTuple):
    """A file in a folder of presets: its definition, or what is wrong with it."""

    path: Path
    own: bool
    definition: Definition | None
    problems: list[Problem]


def own_folder() -> Path:
    """Return the folder of the person's own presets, which need not exist."""
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(os.path.expanduser(config), "convtool", "kernels")


def project_folder(package: Path = Path(__file__).parent.parent) -> Path:
    """Return the folder of the project's presets.

    A wheel carries it inside the package; in a source tree, and so in an editable install, it
    stands beside ``src``.
    """
    inside = package / "presets"
    return inside if inside.is_dir() else package.parent.parent / "kernels"


def folders() -> tuple[Path, Path]:
    """Return both folders of presets, links looked through."""
    return own_folder().resolve(), project_folder().resolve()


def find(name: str) -> Definition:
    """Return the preset of a name or an alias, in any case, with ``_`` for ``-``.

    Raises
    ------
    KernelError
        Where there is none, or its file is broken.
    """
    wanted = _folded(name)
    for files in _folders():
        if path := files.get(wanted):
            entry = _entry(path, own=False)
            if entry.definition is None:
                raise entry.problems[0].error(path)
            return entry.definition
    # No file of that name: an alias, for which every file must be opened.
    everything = entries()
    for entry in everything:
        if entry.definition and wanted in map(_folded, entry.definition.aliases):
            return entry.definition
    known = [e.definition for e in everything if e.definition]
    names = [word for found in known for word in (found.name, *found.aliases)]
    near = did_you_mean(wanted, names)
    if not near.startswith("did"):
        near = "'convtool kernels list' names them all"
    raise KernelError(f"no kernel is called {name!r}", near)


def exists(name: str) -> bool:
    """Tell whether a preset's file (not an alias) has this name."""
    return any(_folded(name) in files for files in _folders())


def entries() -> list[Entry]:
    """Return every preset by name; the person's own hides the project's of the same name."""
    own, project = _folders()
    both = project | own
    return [_entry(path, own=own.get(name) == path) for name, path in sorted(both.items())]


def _folders() -> tuple[dict[str, Path], dict[str, Path]]:
    own, project = (
        {_folded(path.stem): path for path in sorted(folder.glob("*.toml"))}
        for folder in (own_folder(), project_folder())
    )
    return own, project


def _folded(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def _entry(path: Path, *, own: bool) -> Entry:
    try:
        found, problems = definition.read(read_text(path), path, preset=True)
    except LineError as error:
        found, problems = None, [Problem(error.line, error.message, error.hint)]
    except KernelError as error:
        found, problems = None, [Problem(0, error.message, error.hint)]
    return Entry(path, own, found, problems)
