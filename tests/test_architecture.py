"""Imports run downwards only, and heavy libraries stay where they belong.

The rules are read off the source; the start-up of each command is looked at from outside.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import convtool

SOURCE = Path(convtool.__file__).parent

# From the ground up. A module may import from the floors below its own and from its own package.
FLOORS = [
    {"errors", "terms", "version", "divisors"},
    {"geometry"},
    {"fields", "frameworks", "search"},
    {"kernels", "engine", "images", "responses"},
    {"bank"},
    {"stack"},
    {"layer", "batch", "bench"},
    {"doctor"},
    {"report"},
    {"cli"},
    {"__main__"},
]

# Who may import what from outside, beside the standard library.
LIBRARIES = {
    "errors": set(),
    "terms": set(),
    "version": set(),
    "divisors": set(),
    "geometry": set(),
    "fields": set(),
    "frameworks": set(),
    "search": set(),
    "kernels": {"numpy", "safetensors"},
    "engine": {"numpy", "numba", "llvmlite", "platformdirs", "cuda"},
    "images": {"numpy", "PIL", "pyvips"},
    "responses": {"numpy"},
    "bank": {"numpy"},
    "layer": set(),
    "batch": {"numpy"},
    "bench": {"numpy", "PIL"},
    "stack": {"numpy"},
    "doctor": {"numpy", "PIL"},
    "report": {"rich"},
    "cli": {"typer"},
    "__main__": set(),
}

MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def unit_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Return the full names of all that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def floor_of(unit: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if unit in floor)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_downwards(path):
    unit = unit_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "convtool":
            target = parts[1]
            assert target == unit or floor_of(target) < floor_of(unit), f"{unit} imports {name}"
        elif parts[0] not in sys.stdlib_module_names:
            assert parts[0] in LIBRARIES[unit], f"{unit} imports {parts[0]}"


def test_numba_is_behind_the_doors_of_the_cpu_and_cuda_engines():
    users = {path for path in MODULES if any(n.startswith("numba") for n in imports_of(path))}
    engines = SOURCE / "engine" / "cpu", SOURCE / "engine" / "cuda"
    sources = {path for engine in engines for path in (engine / "source").glob("*.py")}
    cpu, cuda = engines
    assert users - sources == {cpu / "machine.py", cuda / "device.py", cuda / "kept.py"}


def test_the_driver_is_behind_the_doors_of_the_cuda_engine():
    users = {path for path in MODULES if any(n.startswith("cuda.") for n in imports_of(path))}
    cuda = SOURCE / "engine" / "cuda"
    assert users == {cuda / "device.py", cuda / "kept.py"}


def test_rich_is_imported_inside_functions_only():
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "rich" not in ast.unparse(node), path


def heavy_after(*arguments: str) -> set[str]:
    """Run the command line in a process of its own; return the heavy modules that it imported."""
    code = (
        "import sys\n"
        "from convtool.cli import main\n"
        "status = main(sys.argv[1:])\n"
        "heavy = {'numpy', 'PIL', 'numba', 'rich', 'pyvips'} & set(sys.modules)\n"
        "print('HEAVY', status, *sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    word, status, *heavy = done.stdout.splitlines()[-1].split()
    assert (word, status) == ("HEAVY", "0"), done.stdout + done.stderr
    return set(heavy)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["apply", "--help"],
        ["transpose", "--help"],
        ["shape", "--help"],
        ["bench", "--help"],
        ["doctor", "--help"],
        ["kernels", "--help"],
        ["kernels", "show", "--help"],
        ["shape", "28x28x1", "--kernel", "3x3", "--filters", "32"],
        ["shape", "28x28x1", "--kernel", "sobel", "--json"],
        ["shape", "28x28x1", "--kernel", "gaussian:sigma=3", "--stride", "2"],
        ["shape", "28x28x1", "--kernel", "2x2: 1 2 3 4"],
        ["shape", "28x28x1", "--kernel", "bilinear", "--transpose", "--stride", "2"],
        ["shape", "28x28x1", "--kernel", "3x3", "--frameworks"],
        ["shape", "28x28x1", "--want", "14"],
        ["shape", "28x28x1", "--kernel", "3x3", "--fit"],
        ["shape", "28x28x1", "--kernel", "3x3", "--stride", "2", "--undo"],
        ["shape", "28x28x1", "--layer", "conv 3x3 x8 relu", "--layer", "pool 2", "--at", "0,0"],
        ["shape", "28x28x1", "--layer", "conv kernel=sobel", "--layer", "flatten"],
    ],
    ids=" ".join,
)
def test_quick_commands_import_nothing_heavy(arguments):
    assert heavy_after(*arguments) == set()


def test_the_shape_of_an_image_needs_pillow_alone(samples):
    heavy = heavy_after("shape", str(samples / "coffee.png"), "--kernel", "3x3")
    assert heavy == {"PIL"}


def test_apply_on_a_small_image_does_not_import_numba(samples, tmp_path):
    heavy = heavy_after(
        *("apply", "-k", "sobel", "-o", str(tmp_path / "out.png"), str(samples / "camera.png"))
    )
    assert heavy == {"numpy", "PIL"}


def test_importing_the_package_costs_nothing():
    code = "import sys, convtool; print(sorted(m for m in sys.modules if m.startswith('convtool')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['convtool', 'convtool.version']"


def test_every_public_name_can_be_reached():
    for name in convtool.__all__:
        assert getattr(convtool, name) is not None
    assert dir(convtool) == sorted(convtool.__all__)
    with pytest.raises(AttributeError, match="no attribute 'conv3d'"):
        _ = convtool.conv3d
