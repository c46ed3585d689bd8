"""What this machine has: versions, processor, engines, codecs, folders, environment."""

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from convtool.doctor import gpu, trial
from convtool.doctor.gpu import Gpu
from convtool.engine.cores import cores
from convtool.engine.cpu import machine
from convtool.engine.cuda import kept as cuda_kept
from convtool.errors import ImageError
from convtool.images import deep
from convtool.kernels import presets
from convtool.terms import Depth
from convtool.version import __version__

# The names under which libraries are shown, and installed.
LIBRARIES = {"NumPy": "numpy", "Pillow": "pillow", "Numba": "numba", "llvmlite": "llvmlite"}

# What changes how convtool behaves; of the last, which hides GPUs, also where it is empty.
VARIABLES = (
    *("NO_COLOR", "FORCE_COLOR", "TERM", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
    *("NUMBA_ENABLE_CUDASIM", "NUMBA_DISABLE_CUDA", "NUMBA_CUDA_DRIVER", "CUDA_VISIBLE_DEVICES"),
)


class Trouble(NamedTuple):
    """Something that should be mended: what it is, and a way out."""

    message: str
    hint: str


class Codec(NamedTuple):
    """A kind of image file.

    Parameters
    ----------
    format : str
    read, written : bool
    library : str
        What does the work inside Pillow, with its version; nothing where Pillow does it itself.
    """

    format: str
    read: bool
    written: bool
    library: str = ""


class Facts(NamedTuple):
    """What was found.

    Parameters
    ----------
    versions : dict
        From the names of programs to their versions.
    processor, system : str
    cores : int
        Cores that this process may use.
    registers : (int, int)
        Vector registers: how many, and of how many float32.
    loading : str
        How compiled code is loaded, in words.
    failure : str
        Why the cpu engine does not work; nothing where it does.
    gpu : Gpu
        What there is for the cuda engine.
    cache : State
        The folder of compiled code, as the cpu engine sees it.
    kernels : State
        As the cuda engine does.
    codecs : tuple of Codec
    deep : str
        What reads and writes 16-bit and float colour, with versions; nothing where there is none.
    presets : int
        Kernels that come with convtool.
    own_folder : Path
        Where the person's own kernels are, which need not exist.
    own : int
        How many there are, and are good.
    broken : tuple of Path
        The others.
    environment : dict
        Those of `VARIABLES` that are set.
    terminal : bool
        Whether standard output is one.
    troubles : tuple of Trouble
    """

    versions: dict[str, str]
    processor: str
    system: str
    cores: int
    registers: tuple[int, int]
    loading: str
    failure: str
    gpu: Gpu
    cache: machine.State
    kernels: machine.State
    codecs: tuple[Codec, ...]
    deep: str
    presets: int
    own_folder: Path
    own: int
    broken: tuple[Path, ...]
    environment: dict[str, str]
    terminal: bool
    troubles: tuple[Trouble, ...]


def examine() -> Facts:
    """Look at the machine; engines are tried, which may compile for a second or two."""
    with ThreadPoolExecutor(1) as beside:  # what takes long is in processes of their own
        looking = beside.submit(gpu.look)
        _, failure = trial.elsewhere("convtool.doctor.trial")
        found = looking.result()
    codecs, entries = _codecs(), presets.entries()
    cache, kernels = _kept()
    broken = tuple(entry.path for entry in entries if entry.own and entry.definition is None)
    return Facts(
        versions=_versions(),
        processor=machine.processor().name,
        system=f"{platform.system()} {platform.machine()}",
        cores=cores(),
        registers=machine.registers(),
        loading=machine.how(),
        failure=failure,
        gpu=found,
        cache=cache,
        kernels=kernels,
        codecs=codecs,
        deep=_deep(),
        presets=sum(not entry.own for entry in entries),
        own_folder=presets.own_folder(),
        own=sum(entry.own for entry in entries) - len(broken),
        broken=broken,
        environment=_environment(),
        terminal=sys.stdout.isatty(),
        troubles=tuple(_troubles(failure, found, cache, codecs, broken)),
    )


def _environment() -> dict[str, str]:
    found = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    return {name: text for name, text in found.items() if text or name == VARIABLES[-1]}


def _kept() -> tuple[machine.State, machine.State]:
    """Look at the folder of compiled code; what one engine has there is not stale for the other."""
    cache, kernels = machine.state(), cuda_kept.state()
    stale = cache.stale - kernels.units - gpu.rates_kept()
    return cache._replace(stale=stale), kernels._replace(stale=stale)


def _versions() -> dict[str, str]:
    found = {"convtool": __version__, "Python": platform.python_version()}
    for title, name in LIBRARIES.items():
        try:
            found[title] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[title] = "not installed"
    return found


def _codecs() -> tuple[Codec, ...]:
    """List the kinds of files, with the libraries that Pillow was built with."""
    from PIL import features

    def library(name: str, title: str) -> str:
        version = features.version(name)
        return f"{title} {version}" if version else title

    zlib = ("zlib_ng", "zlib-ng") if features.check("zlib_ng") else ("zlib", "zlib")
    turbo = ("libjpeg_turbo", "libjpeg-turbo") if features.check("libjpeg_turbo") else None
    built_in = (
        ("PNG", *zlib, True),
        ("JPEG", *(turbo or ("jpg", "libjpeg")), True),
        ("TIFF", "libtiff", "libtiff", True),
        ("WebP", "webp", "libwebp", True),
        ("AVIF", "avif", "libavif", False),
        ("JPEG 2000", "jpg_2000", "OpenJPEG", False),
    )
    found = []
    for form, name, title, writable in built_in:
        there = bool(features.check(name))
        found.append(Codec(form, there, there and writable, library(name, title) if there else ""))
    return (*found, *(Codec(form, True, True) for form in ("BMP", "PNM", "GIF", ".npy")))


def _deep() -> str:
    try:
        pyvips = deep.require("read", "PNG", 3, Depth.SIXTEEN)
    except ImageError:
        return ""
    version = ".".join(str(pyvips.version(part)) for part in range(3))
    return f"pyvips {metadata.version('pyvips')}, libvips {version}"


def _troubles(
    failure: str,
    gpu: Gpu,
    cache: machine.State,
    codecs: tuple[Codec, ...],
    broken: tuple[Path, ...],
) -> list[Trouble]:
    found = []
    if failure:
        found.append(
            Trouble(
                f"the cpu engine does not work here: {failure}",
                "--engine numpy does without it; 'pip install --force-reinstall llvmlite numba' "
                "mends what is damaged",
            )
        )
    found += _gpu_troubles(gpu)
    if cache.problem:
        found.append(
            Trouble(
                f"compiled code cannot be kept in {cache.folder}: {cache.problem}",
                "every run compiles anew; make it a folder that you alone can write to, or set "
                "XDG_CACHE_HOME to another one",
            )
        )
    found += [
        Trouble(
            f"this Pillow was built without the library for {codec.format}",
            "'pip install --force-reinstall pillow' brings one that has it",
        )
        for codec in codecs
        if not codec.read
    ]
    found += [
        Trouble(f"{path} is no kernel", f"'convtool kernels check {path}' says why")
        for path in broken
    ]
    return found


def _gpu_troubles(gpu: Gpu) -> list[Trouble]:
    """Say what does not work; that no GPU is there is no trouble."""
    if gpu.failure:
        return [
            Trouble(
                f"the cuda engine does not work here: {gpu.failure}",
                gpu.hint
                or "--engine cpu does without it; 'pip install --force-reinstall numba-cuda' mends "
                "what is damaged",
            )
        ]
    return [
        Trouble(
            f"the cuda engine does not work on GPU {one.number}: {failure}",
            "choose another with --device; nvidia-smi says who else uses it",
        )
        for one, failure in zip(gpu.devices, gpu.failures, strict=True)
        if failure
    ]
