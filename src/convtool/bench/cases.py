"""What is measured: the standard cases, as data, and the arrays that they stand for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.errors import UsageError, did_you_mean
from convtool.geometry import Border, ConvPlan, ConvSpec, Shape, plan, size_text
from convtool.terms import Op

# In the order in which they are run and shown.
GROUPS = (
    "small",
    "full-rank",
    "gaussian",
    "box",
    "stride",
    "dilation",
    "network",
    "transposed",
)

# Enough work for a GPU, and too much for the others to be run with them; it has to be named.
GPU = "gpu"
EVERY = (*GROUPS, GPU)

# The images of that group, unless another size is asked for.
LARGE_IMAGE = (8192, 8192)

DTYPES = ("uint8", "float32")

SMALL = (3, 5)
LARGE = (7, 11, 15, 31, 63, 127)
OUTER = (5, 15, 31, 63)

# The greatest tap of a kernel in whole numbers, for libraries that have a quicker way for these:
# random ones, which are made of them, and Gaussians, for which finer steps would be no better.
GREATEST_TAP = 15
GREATEST_STEP = 255

# Pixels on a side of a patch of one brightness, under the noise. Without them a wide blur of
# noise is flat, and a result that is a pixel off could not be told from the right one.
PATCH = 32


@dataclass(frozen=True)
class Taps:
    """A kernel by its name.

    Parameters
    ----------
    kind : str
        ``random`` (full rank), ``gaussian`` or ``box`` (outer products).
    shape : tuple of int
        ``(kh, kw)``, applied to every channel by itself, or HWIO, always random.
    """

    kind: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.kind} {size_text(self.shape)}"

    @property
    def sigma(self) -> float:
        """Of a Gaussian, in pixels: the kernel ends at three of them."""
        return (self.shape[0] - 1) / 6

    @property
    def factor(self) -> NDArray[np.float64] | None:
        """The column, which is also the row, of a kernel that is an outer product."""
        size = self.shape[0]
        if self.kind == "random":
            return None
        if self.kind == "box":
            return np.full(size, 1 / size)
        distance = np.arange(size) - (size - 1) / 2
        bell = np.exp(-(distance**2) / (2 * self.sigma**2))
        return np.asarray(bell / bell.sum(), np.float64)

    @property
    def whole(self) -> tuple[NDArray[np.int64], float]:
        """The kernel in whole numbers, and what their sums are divided by.

        As near as whole numbers come for a Gaussian, exact for the others.
        """
        if self.factor is None:
            taps = self._generator.integers(0, GREATEST_TAP + 1, self.shape)
            return taps, float(2 ** np.ceil(np.log2(taps.sum())))
        return self._steps(np.outer(self.factor, self.factor))

    @property
    def whole_factor(self) -> tuple[NDArray[np.int64], float]:
        """The factor of an outer product in whole numbers, and what sums are divided by."""
        assert self.factor is not None
        return self._steps(self.factor)

    def _steps(self, taps: NDArray[np.float64]) -> tuple[NDArray[np.int64], float]:
        top = GREATEST_STEP if self.kind == "gaussian" else 1
        steps = np.rint(taps / taps.max() * top).astype(np.int64)
        return steps, float(steps.sum())

    def weights(self) -> NDArray[np.float32]:
        """Return the taps, (kh, kw) or HWIO.

        Random taps of an image filter are whole numbers over a power of two, of which float32
        loses nothing, and sum to at most 1: what 8-bit results hold.
        """
        if self.factor is not None:
            return np.outer(self.factor, self.factor).astype(np.float32)
        if len(self.shape) == 2:
            taps, divisor = self.whole
            return (taps / divisor).astype(np.float32)
        spread = np.sqrt(np.prod(self.shape[:3]))
        return (self._generator.standard_normal(self.shape) / spread).astype(np.float32)

    @property
    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(self.shape)


@dataclass(frozen=True)
class Case:
    """One convolution.

    Parameters
    ----------
    group, name : str
        The name is short, and the only one of its kind in a run over one image size.
    shape : (N, H, W, C)
    dtype : str
        ``uint8`` or ``float32``, of images and results.
    kernel : Taps
    stride, dilation : int
        In pixels, for both axes.
    groups : int
    border : str
        ``reflect`` for images, which every library knows; ``zero`` in networks.
    op : Op
    """

    group: str
    name: str
    shape: Shape
    dtype: str
    kernel: Taps
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    border: str = "reflect"
    op: Op = Op.CONV2D

    # As TensorFlow's SAME, everywhere.
    padding = "same"

    @property
    def per_channel(self) -> bool:
        """Whether it filters an image, every channel by itself."""
        return len(self.kernel.shape) == 2

    def plan(self) -> ConvPlan:
        """Settle the sizes and pads."""
        spec = ConvSpec.of(
            self.op,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            border=Border.parse(self.border),
        )
        return plan(spec, self.shape, self.kernel.shape)


@lru_cache(maxsize=4)
def images(shape: Shape, dtype: str) -> NDArray[Any]:
    """Return a batch of the same pixels every time: noise over patches of grey.

    Returns
    -------
    ndarray (N, H, W, C)
        0 … 254, or for float32 the same over 255. Kept for the next case: not to be written to.
    """
    n, h, w, c = shape
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 128, (n, -(-h // PATCH), -(-w // PATCH), c), np.uint8)
    pixels = rng.integers(0, 128, shape, np.uint8)
    pixels += patches.repeat(PATCH, 1)[:, :h].repeat(PATCH, 2)[:, :, :w]
    return pixels if dtype == "uint8" else pixels / np.float32(255)


@dataclass(frozen=True)
class Image:
    """A kind of image: height and width, channels, type."""

    size: tuple[int, int]
    channels: int
    dtype: str

    @property
    def shape(self) -> Shape:
        """As a batch of one."""
        return (1, *self.size, self.channels)

    def __str__(self) -> str:
        known = {1: "grey", 3: "RGB"}
        return f"{known.get(self.channels, f'{self.channels} channels')} {self.dtype}"


def kinds(size: tuple[int, int], channels: Iterable[str], dtypes: Iterable[str]) -> list[Image]:
    """Read which kinds of images are wanted.

    Parameters
    ----------
    size : (int, int)
    channels, dtypes : iterable of str
        As they were written; every number with every type.

    Raises
    ------
    UsageError
        Where that is no number of channels, or no type of a standard case.
    """
    counts, names = list(channels), [_known(name, DTYPES, "--dtype") for name in dtypes]
    for count in counts:
        if not count.strip().isdecimal() or int(count) < 1:
            raise UsageError(
                f"--channels must be numbers of at least 1, not {count!r}", "for example 1,3"
            )
    return [Image(size, int(count), name) for count in counts for name in names]


def _known(name: str, names: Sequence[str], option: str) -> str:
    name = name.strip().lower()
    if name not in names:
        raise UsageError(
            f"{option} must be one of {', '.join(names)}, not {name!r}", did_you_mean(name, names)
        )
    return name


def standard(
    groups: Iterable[str], kinds: Sequence[Image], large: tuple[int, int] = LARGE_IMAGE
) -> list[Case]:
    """List the standard cases of some groups.

    Parameters
    ----------
    groups : iterable of str
    kinds : sequence of Image
        What is filtered. The layers of networks have sizes of their own, and are float32: they
        are left out where that is not among the types.
    large : (int, int)
        Height and width of the images of the group `gpu`, which are RGB.

    Raises
    ------
    UsageError
        Where there is no such group.
    """
    wanted = {_known(group, EVERY, "--group") for group in groups}
    types = dict.fromkeys(kind.dtype for kind in kinds)
    found: list[Case] = []
    for group in EVERY:
        if group in wanted and group in _LAYERS:
            found += _LAYERS[group]() if "float32" in types else []
        elif group in wanted and group == GPU:
            found += _filters(group, [Image(large, 3, name) for name in types])
            found += _large_layers(large) if "float32" in types else []
        elif group in wanted:
            found += _filters(group, kinds)
    return found


def _filters(group: str, kinds: Iterable[Image]) -> Iterator[Case]:
    """Yield the cases of a group of filters, those on one kind of image together."""
    for kind in kinds:
        for words, kernel, stride, dilation in _kernels(group):
            yield Case(group, f"{words} {kind}", kind.shape, kind.dtype, kernel, stride, dilation)


def _kernels(group: str) -> Iterator[tuple[str, Taps, int, int]]:
    """Yield the name, the kernel, the stride and the dilation of each."""
    match group:
        case "small" | "full-rank" | "gpu":
            for k in LARGE if group == "full-rank" else SMALL:
                yield f"{k}x{k}", Taps("random", (k, k)), 1, 1
        case "gaussian" | "box":
            for k in OUTER:
                yield f"{k}x{k}", Taps(group, (k, k)), 1, 1
        case "stride":
            for s in (2, 4):
                for k in SMALL:
                    yield f"{k}x{k} stride {s}", Taps("random", (k, k)), s, 1
        case "dilation":
            for d in (2, 3):
                for k in SMALL:
                    yield f"{k}x{k} dilation {d}", Taps("random", (k, k)), 1, d


def _layers() -> Iterator[Case]:
    """Yield layers as networks for images have them: first ones, middle ones, a depthwise one."""
    for shape, kernel, stride, groups in (
        ((8, 56, 56, 64), (3, 3, 64, 64), 1, 1),
        ((1, 224, 224, 3), (3, 3, 3, 32), 1, 1),
        ((8, 28, 28, 128), (3, 3, 128, 256), 1, 1),
        ((1, 512, 512, 3), (5, 5, 3, 16), 2, 1),
        ((1, 112, 112, 144), (3, 3, 1, 144), 1, 144),
    ):
        yield _layer("network", shape, kernel, stride, groups)


def _transposed() -> Iterator[Case]:
    """Yield layers that enlarge, across channels and each channel by itself."""
    for shape, kernel in (
        ((1, 64, 64, 64), (3, 3, 32, 64)),
        ((1, 64, 64, 64), (4, 4, 32, 64)),
        ((8, 64, 64, 64), (4, 4, 32, 64)),
        ((1, 2048, 2048, 3), (3, 3)),
        ((1, 2048, 2048, 3), (4, 4)),
    ):
        yield _layer("transposed", shape, kernel, 2, op=Op.CONV2D_TRANSPOSE)


def _large_layers(size: tuple[int, int]) -> Iterator[Case]:
    """Yield layers of the group `gpu`; what it enlarges comes out as large as its images."""
    h, w = (max(length // 2, 1) for length in size)
    yield _layer(GPU, (8, 56, 56, 64), (3, 3, 64, 64))
    yield _layer(GPU, (8, 28, 28, 128), (3, 3, 128, 256))
    yield _layer(GPU, (8, 64, 64, 64), (4, 4, 32, 64), 2, op=Op.CONV2D_TRANSPOSE)
    yield _layer(GPU, (1, h, w, 3), (4, 4), 2, op=Op.CONV2D_TRANSPOSE)


def _layer(
    group: str,
    shape: Shape,
    kernel: tuple[int, ...],
    stride: int = 1,
    groups: int = 1,
    op: Op = Op.CONV2D,
) -> Case:
    size = size_text(shape[:3] if shape[0] > 1 else shape[1:3])
    stride_text = f" stride {stride}" if stride > 1 else ""
    return Case(
        group,
        f"{size_text(kernel)}{stride_text}, {size}",
        shape,
        "float32",
        Taps("random", kernel),
        stride,
        groups=groups,
        border="zero",
        op=op,
    )


_LAYERS = {"network": _layers, "transposed": _transposed}


def full_rank(k: int, kind: Image) -> Case:
    """Return a filter of full rank of any size: a point of the curves."""
    return Case("curve", f"{k}x{k} {kind}", kind.shape, kind.dtype, Taps("random", (k, k)))


def rank_one(case: Case) -> Case:
    """Return the case with a kernel of the same size that is an outer product."""
    return replace(case, kernel=Taps("gaussian", case.kernel.shape))
