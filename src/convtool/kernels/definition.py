"""A kernel's TOML file: its schema, and everything that may be wrong with one, by line.

::

    name = "sobel"                          name = "my-blur"
    description = "…"                       description = "…"
    combine = "magnitude"
                                            formula = "gaussian"
    [[filters]]
    name = "x"                              [parameters]
    taps = [[-1, 0, 1], …]                  sigma = 5
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convtool.errors import KernelError, did_you_mean
from convtool.kernels.families import FAMILIES, Family, Parameter, Value, value_text
from convtool.kernels.kernel import Kernel, Setting, check_sides
from convtool.kernels.positions import Positions
from convtool.kernels.reading import Problem
from convtool.terms import Combine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Rows = list[list[float]]

_TAPS = ("taps", "column", "row", "divide")
_KEYS = (
    "name",
    "description",
    "source",
    "meaning",
    "combine",
    "aliases",
    "bias",
    "filters",
    "formula",
    "parameters",
    *_TAPS,
)


class Definition(NamedTuple):
    """What a kernel's TOML file says: taps as they are, or a formula and its parameters."""

    name: str
    description: str
    source: str
    meaning: str
    combine: Combine | None
    aliases: tuple[str, ...]
    bias: tuple[float, ...] | None
    filter_names: tuple[str, ...]
    filters: tuple[Rows, ...]
    family: Family | None
    parameters: tuple[Parameter, ...]
    origin: str

    def kernel(self, arguments: Mapping[str, str] | None = None) -> Kernel:
        """Return the kernel for some arguments; what they leave out is as the file says.

        Raises
        ------
        KernelError
            For an argument that does not exist, or a value beyond its limits.
        """
        given = dict(arguments or {})
        which = given.pop("filter", None)
        values = {p.name: p.default for p in self.parameters}
        by_name = {p.name: p for p in self.parameters}
        for key, text in given.items():
            if key not in by_name:
                legal = (*by_name, "filter")
                takes = f"takes {', '.join(by_name)}" if by_name else "has no parameters"
                raise KernelError(
                    f"{self.name} {takes}, but {key!r} is given", did_you_mean(key, legal)
                )
            values[key] = by_name[key].parse(text)
        kernel = self._whole(values)
        return kernel if which is None else kernel.pick(which)

    def _whole(self, values: Mapping[str, Value]) -> Kernel:
        family, filters, names = self.family, self.filters, self.filter_names
        if family is not None:
            shape, names = family.shape(values), family.names(values)
        else:
            shape = len(filters[0]), len(filters[0][0])

        def make() -> "NDArray[np.float64]":
            if family is not None:
                return family.weights(values)
            import numpy as np

            return np.array(filters, np.float64)

        count = max(1, len(names)) if family is not None else len(filters)
        bias = self.bias
        return Kernel(
            name=self.name,
            shape=shape,
            filters=count,
            make=make,
            filter_names=names,
            combine=self.combine if count > 1 else None,
            bias=bias * count if bias and len(bias) == 1 else bias,
            description=self.description,
            source=self.source,
            meaning=self.meaning,
            origin=self.origin,
            parameters=tuple(
                Setting(p.name, value_text(values[p.name]), p.help) for p in self.parameters
            ),
        )


def read(text: str, path: Path, *, preset: bool = False) -> tuple[Definition | None, list[Problem]]:
    """Read a kernel's TOML text.

    Parameters
    ----------
    text : str
    path : Path
        Its file, whose stem is the kernel's name.
    preset : bool
        Whether it lies in a folder of presets, where its `name` must be the file's too: there it
        is found by the one and listed by the other.

    Returns
    -------
    definition : Definition or None
        None where there are problems.
    problems : list of Problem
        Every one of them, in the order of the lines.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, [_syntax(str(error), text)]
    reader = _Reader(table, text)
    definition = reader.definition(path, preset=preset)
    problems = sorted(reader.problems, key=lambda problem: problem.line)
    return (None if problems else definition), problems


def _syntax(message: str, text: str) -> Problem:
    """Turn ``Invalid value (at line 3, column 8)`` into a problem with a line."""
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    line = len(text.splitlines()) or 1
    if place is None:
        return Problem(line, f"not TOML: {message}")
    what = message[: place.start()]
    if place[1]:
        return Problem(int(place[1]), f"not TOML: {what}, at column {place[2]}")
    return Problem(line, f"not TOML: {what}, at the end of the file")


class _Reader:
    """Reads a table, and gathers problems instead of stopping at the first."""

    def __init__(self, table: dict[str, Any], text: str) -> None:
        self.table = table
        self.text = text
        self.problems: list[Problem] = []
        self.misspelt = False

    @cached_property
    def positions(self) -> Positions:
        """Where the keys are, which only a file with problems needs to know."""
        return Positions(self.text)

    def problem(self, place: tuple[str | int, ...], message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.positions.line(*place), message, hint))

    def definition(self, path: Path, *, preset: bool) -> Definition:
        self.keys(self.table, _KEYS, ())
        name = self.string("name")
        if preset and name and name != path.stem:
            self.problem(
                ("name",),
                f"the name must equal the file's, but {name!r} is in {path.name}",
                f'write name = "{path.stem}", or call the file {name}.toml',
            )
        description = self.string("description")
        if "\n" in description.strip():
            self.problem(("description",), "the description must be one line", "see `meaning`")
        family, parameters = self.formula()
        names, filters = ((), ()) if "formula" in self.table else self.filters()
        return Definition(
            name=path.stem,
            description=description.strip(),
            source=_flowed(self.string("source")),
            meaning=_flowed(self.string("meaning")),
            combine=self.combine(),
            aliases=self.aliases(),
            bias=self.bias(len(filters)),
            filter_names=names,
            filters=filters,
            family=family,
            parameters=parameters,
            origin=str(path),
        )

    def keys(
        self, table: dict[str, Any], known: tuple[str, ...], place: tuple[str | int, ...]
    ) -> None:
        for key in table:
            if key not in known:
                self.misspelt = True
                self.problem(
                    (*place, key), f"{key!r} is not a key of a kernel", did_you_mean(key, known)
                )

    def string(self, key: str) -> str:
        value = self.table.get(key, "")
        if not isinstance(value, str):
            self.problem((key,), f"{key} must be a string, but is {_kind(value)}")
            return ""
        return value

    def combine(self) -> Combine | None:
        word = self.string("combine")
        if not word or word in list(Combine):
            return Combine(word) if word else None
        self.problem(
            ("combine",),
            f"combine must be one of {', '.join(Combine)}, but is {word!r}",
            did_you_mean(word, list(Combine)),
        )
        return None

    def aliases(self) -> tuple[str, ...]:
        value = self.table.get("aliases", [])
        if isinstance(value, list) and all(isinstance(alias, str) for alias in value):
            return tuple(value)
        self.problem(("aliases",), 'aliases must be a list of strings, as in ["blur"]')
        return ()

    def bias(self, filters: int) -> tuple[float, ...] | None:
        if "bias" not in self.table:
            return None
        value = self.table["bias"]
        values = value if isinstance(value, list) else [value]
        if not values or not all(map(_is_number, values)):
            self.problem(("bias",), f"bias must be a number or a list of them, but is {value!r}")
        elif len(values) not in (1, filters):
            self.problem(
                ("bias",), f"bias has one number per filter, but {len(values)} for {filters}"
            )
        else:
            every = values * filters if len(values) == 1 and filters else values
            return tuple(map(float, every))
        return None

    def formula(self) -> tuple[Family | None, tuple[Parameter, ...]]:
        overrides = self.table.get("parameters", {})
        if "formula" not in self.table:
            if "parameters" in self.table:
                self.problem(("parameters",), "parameters need a formula", 'formula = "gaussian"')
            return None, ()
        for key in ("filters", *_TAPS):
            if key in self.table:
                self.problem((key,), f"a kernel has a formula or {key}, but not both")
        family = FAMILIES.get(self.string("formula"))
        if family is None:
            self.problem(
                ("formula",),
                f"there is no formula {self.table['formula']!r}",
                did_you_mean(str(self.table["formula"]), FAMILIES),
            )
            return None, ()
        if not isinstance(overrides, dict):
            self.problem(("parameters",), f"parameters must be a table, but is {_kind(overrides)}")
            return None, ()
        parameters = tuple(self.parameter(p, overrides) for p in family.parameters)
        for key in overrides:
            if key not in (legal := [p.name for p in family.parameters]):
                self.problem(
                    ("parameters", key),
                    f"{family.name} takes {', '.join(legal)}, but {key!r} is given",
                    did_you_mean(key, legal),
                )
        try:
            family.shape({p.name: p.default for p in parameters})
        except KernelError as error:
            self.problem(("parameters",), error.message, error.hint)
        return family, parameters

    def parameter(self, parameter: Parameter, overrides: dict[str, Any]) -> Parameter:
        if parameter.name not in overrides:
            return parameter
        try:
            return parameter._replace(default=parameter.parse(overrides[parameter.name]))
        except KernelError as error:
            self.problem(("parameters", parameter.name), error.message, error.hint)
            return parameter

    def filters(self) -> tuple[tuple[str, ...], tuple[Rows, ...]]:
        """Read the taps at the top level, or those under each ``[[filters]]``."""
        tables = self.table.get("filters")
        if tables is None:
            if not any(key in self.table for key in _TAPS):
                if self.misspelt:  # and the taps are there, under another name
                    return (), ()
                self.problem(
                    (),
                    "a kernel needs taps, [[filters]] or a formula, but there is none of them",
                    "for example taps = [[1, -1]]",
                )
                return (), ()
            rows = self.taps(self.table, ())
            return (), (rows,) if rows else ()
        for key in _TAPS:
            if key in self.table:
                self.problem((key,), f"a file has [[filters]] or {key} at the top, but not both")
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.problem(("filters",), "filters must be tables, each under a line [[filters]]")
            return (), ()
        names: list[str] = []
        filters: list[Rows] = []
        for f, table in enumerate(tables):
            self.keys(table, ("name", *_TAPS), ("filters", f))
            name = table.get("name", "")
            if not isinstance(name, str):
                self.problem(("filters", f, "name"), f"name must be a string, but is {_kind(name)}")
            elif name in names and name:
                self.problem(("filters", f, "name"), f"two filters are called {name!r}")
            names.append(str(name))
            if rows := self.taps(table, ("filters", f)):
                filters.append(rows)
                size, first = _size(rows), _size(filters[0])
                if size != first:
                    self.problem(
                        ("filters", f),
                        f"filters must have one size, but filter {f} is {size} and the first "
                        f"is {first}",
                        "fill the smaller one up with zeros",
                    )
        if any(names) and not all(names):
            self.problem(("filters", names.index("")), "either every filter has a name or none has")
        return (tuple(names) if all(names) else ()), tuple(filters)

    def taps(self, table: dict[str, Any], place: tuple[str | int, ...]) -> Rows | None:
        """Read ``taps``, or ``column`` times ``row``, over ``divide``."""
        before = len(self.problems)
        if "taps" in table:
            for key in ("column", "row"):
                if key in table:
                    self.problem((*place, key), f"taps say it all, but there is a {key} too")
            rows = self.matrix(table["taps"], (*place, "taps"))
        else:
            column, row = (self.vector(table, key, place) for key in ("column", "row"))
            rows = [[c * r for r in row] for c in column]
        divide = table.get("divide", 1)
        if not _is_number(divide) or divide == 0:
            self.problem(
                (*place, "divide"), f"divide must be a number that is not zero, but is {divide!r}"
            )
        if len(self.problems) > before:
            return None
        rows = [[tap / divide for tap in row] for row in rows]
        if not all(isfinite(tap) for row in rows for tap in row):
            self.problem((*place, "divide"), "taps must be finite, but one overflows")
        try:
            check_sides(len(rows), len(rows[0]))
        except KernelError as error:
            self.problem(place, error.message, error.hint)
        return rows

    def matrix(self, value: object, place: tuple[str | int, ...]) -> Rows:
        if not isinstance(value, list) or not value or not all(isinstance(r, list) for r in value):
            self.problem(
                place,
                f"taps must be a list of rows, but is {_kind(value)}",
                "a single row is written [[1, -1]]",
            )
            return []
        rows: Rows = []
        for r, row in enumerate(value):
            rows.append(self.numbers(row, f"row {r + 1}", (*place, r)))
            if len(row) != len(value[0]):
                self.problem(
                    (*place, r),
                    f"rows must have one length, but row {r + 1} has {len(row)} taps and row 1 "
                    f"has {len(value[0])}",
                )
        return rows

    def vector(self, table: dict[str, Any], key: str, place: tuple[str | int, ...]) -> list[float]:
        if key not in table:
            self.problem(
                place,
                f"a filter has taps, or a column and a row, but {key} is missing",
                f"add {key} = [1, 2, 1]",
            )
            return []
        return self.numbers(table[key], key, (*place, key))

    def numbers(self, value: object, what: str, place: tuple[str | int, ...]) -> list[float]:
        if not isinstance(value, list) or not value:
            self.problem(place, f"{what} must be a list of numbers, but is {_kind(value)}")
            return []
        for tap in value:
            if not _is_number(tap):
                self.problem(place, f"taps must be finite numbers, but {what} has {tap!r}")
                return []
        return [float(tap) for tap in value]


def _flowed(text: str) -> str:
    return " ".join(text.split())


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return isfinite(value)
    except OverflowError:
        return False


def _kind(value: object) -> str:
    """Name a value's type in the words of TOML."""
    if value == []:
        return "empty"
    names = {str: "a string", bool: "a boolean", int: "an integer", float: "a float"}
    names |= {list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")


def _size(rows: Rows) -> str:
    return f"{len(rows)}x{len(rows[0])}"
