"""The kernel library: presets, files and inline texts → kernels.

Names and shapes cost no NumPy; weights import it when they are first asked for.
"""

from convtool.kernels.files import SUFFIXES, check, inspect
from convtool.kernels.kernel import LONGEST, Kernel, Setting
from convtool.kernels.naming import from_folder, load
from convtool.kernels.presets import entries, find
from convtool.kernels.reading import Problem

__all__ = [
    "LONGEST",
    "SUFFIXES",
    "Kernel",
    "Problem",
    "Setting",
    "check",
    "entries",
    "find",
    "from_folder",
    "inspect",
    "load",
]
