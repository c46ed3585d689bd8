"""A process that compiles units for another one: see `machine.compile_elsewhere`.

It is given units as JSON, and says the name of each when it lies in the cache.
"""

import json
import sys

from convtool.engine.cpu import machine


def main(units: str) -> None:
    """Compile units."""
    for unit in json.loads(units):
        machine.compile_and_keep(*unit)
        print(machine.name_of(*unit), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
