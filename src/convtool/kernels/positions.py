"""Where in a TOML text each key stands, which tomllib does not tell."""

import re

Place = tuple[str | int, ...]

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\''  # strings over several lines
    r'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''  # strings within one
    r"|\#[^\n]*|\n|[\[\]{}=,]|[^\s\[\]{}=,#\"']+",
    re.DOTALL,
)


class Positions:
    """The line of every key, table and row of nested arrays.

    Parameters
    ----------
    text : str
        TOML that tomllib has accepted; nothing is checked again.

    Examples
    --------
    >>> Positions('name = "x"\\n[[filters]]\\ntaps = [[1],\\n[2]]').line("filters", 0, "taps", 1)
    4
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[Place, int] = {}
        table: Place = ()
        tables: dict[Place, int] = {}
        words: list[str] = []
        value: Place | None = None
        depth = items = last = 0
        line = 1
        for match in _TOKEN.finditer(text + "\n"):
            token = match.group()
            line += text.count("\n", last, match.start())
            last = match.start()
            if token.startswith("#"):
                continue
            if value is not None:
                if token in "[{":
                    depth += 1
                    if depth == 2:
                        self._lines[*value, items] = line
                        items += 1
                elif token in "]}":
                    depth -= 1
                elif token == "\n" and depth == 0:
                    value = None
            elif token == "=":
                value, items = (*table, *_parts(words)), 0
                self._lines.setdefault(value, line)
                words = []
            elif token != "\n":
                words.append(token)
            elif words:
                # A header, [table] or [[one of several]].
                several = words[:2] == ["[", "["]
                table = _parts([word for word in words if word not in "[]"])
                if several:
                    tables[table] = tables.get(table, -1) + 1
                    table = (*table, tables[table])
                self._lines.setdefault(table, line)
                words = []

    def line(self, *place: str | int) -> int:
        """Return the line of a place, or of the nearest thing around it; 1 if there is none."""
        while place:
            # What stands within counts too: [a.b] is where `a` begins.
            within = [n for key, n in self._lines.items() if key[: len(place)] == place]
            if within:
                return min(within)
            place = place[:-1]
        return 1


def _parts(words: list[str]) -> Place:
    return tuple(part.strip("\"'") for part in "".join(words).split("."))
