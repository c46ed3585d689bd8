"""Other libraries that convolve images: how each would be asked for the standard cases.

A peer is imported when it is asked for, and is there if that succeeds; none of them is ever a
dependency. Each way to compute a case is given what it needs beforehand, in the layout that it
likes best, with memory for the result where it takes any. What is timed is the call alone; what
it returned is turned into NHWC afterwards, for the comparison.

Two things a library may lack are added as a user would: a dilated kernel is one with zeros in
between, and a stride is the result of every pixel with rows and columns left out, copied.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.bench.cases import Case
from convtool.errors import UsageError, did_you_mean
from convtool.geometry import ConvPlan
from convtool.terms import Op

# From this size on a kernel is worth an FFT of the image to the libraries that offer one.
FFT_FROM = 11

# Where a layer of a network is a way to filter images, or is the case itself.
TORCH_GROUPS = ("small", "stride", "dilation", "network", "transposed", "gpu")

# Multiply-adds in a second, measured on two cores at 2.5 GHz: by which ways that would take longer
# than there is patience for are left out.
NDIMAGE = 5e8
VIPS_FLOAT = 1.2e9
VIPS_INTEGER = 5e10
VIPS_INTEGER_WIDE = 2e9  # from so many taps on a side, where it does without vectors
WIDE = 40


@dataclass(frozen=True)
class Task:
    """What a peer is given.

    Parameters
    ----------
    case : Case
    images : ndarray (N, H, W, C)
    weights : ndarray (kh, kw) or HWIO, float32
    settled : ConvPlan
    threads : int
    patience : float
        How long one call may take by estimate, in seconds.
    device : int
        Of peers that compute on a GPU, its number.
    """

    case: Case
    images: NDArray[Any]
    weights: NDArray[np.float32]
    settled: ConvPlan
    threads: int
    patience: float
    device: int = 0

    @property
    def image(self) -> NDArray[Any]:
        """The one image, (H, W) or (H, W, C)."""
        image = self.images[0]
        return image[:, :, 0] if image.shape[2] == 1 else image

    @property
    def dense(self) -> NDArray[np.float32]:
        """The kernel with the dilation's gaps filled with zeros."""
        return self._spread(self.weights)

    @property
    def dense_whole(self) -> tuple[NDArray[np.int64], float]:
        """The same in whole numbers, and what sums are divided by."""
        taps, divisor = self.case.kernel.whole
        return self._spread(taps), divisor

    def _spread(self, taps: NDArray[Any]) -> NDArray[Any]:
        d = self.case.dilation
        spread = np.zeros([(k - 1) * d + 1 for k in taps.shape], taps.dtype)
        spread[::d, ::d] = taps
        return spread

    def bearable(self, rate: float, taps: int | None = None) -> bool:
        """Whether a call ends in time that computes every pixel, whatever the stride.

        Parameters
        ----------
        rate : float
            Multiply-adds in a second.
        taps : int, optional
            How many for each pixel, if not the kernel's.
        """
        taps = self.weights.size if taps is None else taps
        return taps * self.images.size <= rate * self.patience

    @property
    def suffix(self) -> str:
        """What the stride adds to the name of a function."""
        return f" + [::{self.case.stride}]" if self.case.stride > 1 else ""

    def strided(self, compute: Callable[[], NDArray[Any]]) -> Callable[[], NDArray[Any]]:
        """Leave out the rows and columns that the stride passes over."""
        if self.case.stride == 1:
            return compute
        rows, cols = self.settled.rows.centres, self.settled.cols.centres
        place = (slice(rows[0], rows[-1] + 1, rows.step), slice(cols[0], cols[-1] + 1, cols.step))
        out = np.zeros((*self.settled.output_shape[1:3], self.images.shape[3]), self.images.dtype)
        out = out[:, :, 0] if out.shape[2] == 1 else out

        def picked() -> NDArray[Any]:
            np.copyto(out, compute()[place])
            return out

        return picked

    def nhwc(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the one result, (H, W) or (H, W, C), as NHWC."""
        return image.reshape(self.settled.output_shape)


# Makes a call, and returns how long it took in seconds.
Clock = Callable[[Callable[[], object]], float]


@dataclass(frozen=True)
class Way:
    """One way in which a peer computes a case.

    Parameters
    ----------
    name : str
        The library and the function.
    call : callable
        What is timed.
    array : callable
        From what the call returned to an array (N, OH, OW, OC).
    rim : bool
        Whether it knows the case's border. If not, results are compared inside.
    approximate : bool
        Whether it is meant to be near the kernel only.
    clock : callable, optional
        Times a call that returns before its work is done; None for those that do not.
    """

    name: str
    call: Callable[[], Any]
    array: Callable[[Any], NDArray[Any]]
    rim: bool = True
    approximate: bool = False
    clock: Clock | None = None


@dataclass(frozen=True)
class Peer:
    """A library.

    Parameters
    ----------
    name, title : str
        As an option, and as people write it.
    package : str
        What pip calls it.
    version : callable
        Imports the library; returns its version.
    ways : callable
        The ways in which it can do a task: none for most.
    transposes : bool
        Whether it has a transposed convolution.
    origin : str
        How it comes to be there, where pip has none that will do.
    """

    name: str
    title: str
    package: str
    version: Callable[[], str]
    ways: Callable[[Task], Iterator[Way]]
    transposes: bool = False
    origin: str = ""

    @property
    def hint(self) -> str:
        """How to get it."""
        return self.origin or f"pip install '{self.package}'"


def _opencv(task: Task) -> Iterator[Way]:
    if not task.case.per_channel:
        return
    cv2 = import_module("cv2")
    cv2.setNumThreads(task.threads)
    kernel, image = task.case.kernel, task.image
    full, rim = np.zeros_like(image), {"borderType": cv2.BORDER_REFLECT_101}
    size = kernel.shape[::-1]

    def way(name: str, function: Callable[..., Any], *arguments: Any) -> Way:
        def compute() -> NDArray[Any]:
            function(image, *arguments, dst=full, **rim)
            return full

        return Way(f"OpenCV {name}{task.suffix}", task.strided(compute), task.nhwc)

    if kernel.factor is None:
        yield way("filter2D", cv2.filter2D, -1, task.dense)
        return
    if kernel.kind == "gaussian":
        yield way("GaussianBlur", cv2.GaussianBlur, size, kernel.sigma)
    else:
        yield way("blur", cv2.blur, size)
    yield way("sepFilter2D", cv2.sepFilter2D, -1, kernel.factor, kernel.factor)


def _libvips(task: Task) -> Iterator[Way]:
    if not task.case.per_channel:
        return
    pyvips = import_module("pyvips")
    pyvips.concurrency_set(task.threads)
    pyvips.cache_set_max(0)  # else a later call is given the pipeline of the first
    h, w, c = task.images.shape[1:]
    kind = "uchar" if task.images.dtype == np.uint8 else "float"
    image = pyvips.Image.new_from_memory(task.images, w, h, c, kind)
    rows, cols = task.settled.rows, task.settled.cols

    separable, side = task.case.kernel.factor is not None, task.weights.shape[0]

    def way(precision: str) -> Way:
        # In two steps whole numbers are rounded twice: small kernels fare better in one.
        small = precision == "integer" and side <= 5
        function = "convsep" if separable and not small else "conv"
        mask = _vips_mask(pyvips, task, function, precision)

        def call() -> Any:
            result = getattr(image, function)(mask, precision=precision)
            if kind == "uchar" and precision == "float":
                result = result.cast(kind)
            if task.case.stride > 1:
                # subsample() counts from the first pixel: move the first centre there.
                top, left = -rows.centres[0], -cols.centres[0]
                high, wide = rows.o * rows.s, cols.o * cols.s
                result = result.embed(left, top, wide, high).subsample(cols.s, rows.s)
            return result.write_to_memory()

        stride = " + subsample" if task.case.stride > 1 else ""
        return Way(
            f"libvips {function} {precision}{stride}",
            call,
            lambda memory: task.nhwc(np.frombuffer(memory, task.images.dtype)),
            rim=False,  # it has a border of its own, the pixel at the edge
        )

    taps = 2 * side if separable else side * side
    if kind == "uchar" and task.bearable(VIPS_INTEGER if side < WIDE else VIPS_INTEGER_WIDE, taps):
        yield way("integer")
    if task.bearable(VIPS_FLOAT, taps):
        yield way("float")


def _vips_mask(pyvips: Any, task: Task, function: str, precision: str) -> Any:
    """Return the mask, with the scale that makes whole numbers of it."""
    kernel = task.case.kernel
    if function == "conv":
        taps, divisor = task.dense_whole
        return pyvips.Image.new_from_array(taps.tolist(), scale=divisor)
    if precision == "float" and kernel.factor is not None:
        return pyvips.Image.new_from_array([kernel.factor.tolist()])
    factor, divisor = kernel.whole_factor
    return pyvips.Image.new_from_array([factor.tolist()], scale=divisor)


def _scipy(task: Task) -> Iterator[Way]:
    """scipy.ndimage, which has one thread, and scipy.signal."""
    if not task.case.per_channel:
        return
    kernel, image = task.case.kernel, task.image
    if kernel.factor is None:
        yield from _ndimage_correlate(task)
    else:
        yield from _ndimage_separable(task)
    large = min(kernel.shape) >= FFT_FROM
    if image.dtype == np.float32 and kernel.kind == "random" and large:
        signal, fft = import_module("scipy.signal"), import_module("scipy.fft")
        turned = task.weights[::-1, ::-1]
        turned = turned if image.ndim == 2 else turned[:, :, None]

        def oaconvolve() -> Any:
            with fft.set_workers(task.threads):
                return signal.oaconvolve(image, turned, mode="same", axes=(0, 1))

        yield Way("SciPy oaconvolve", oaconvolve, task.nhwc, rim=False)


def _ndimage_correlate(task: Task) -> Iterator[Way]:
    if not task.bearable(NDIMAGE):
        return
    ndimage = import_module("scipy.ndimage")
    image, full, kernel = task.image, np.zeros_like(task.image), task.dense
    kernel = kernel if image.ndim == 2 else kernel[:, :, None]

    def correlate() -> NDArray[Any]:
        ndimage.correlate(image, kernel, output=full, mode="mirror")
        return full

    yield Way(f"SciPy correlate{task.suffix}", task.strided(correlate), task.nhwc)


def _ndimage_separable(task: Task) -> Iterator[Way]:
    ndimage = import_module("scipy.ndimage")
    kernel, image, full = task.case.kernel, task.image, np.zeros_like(task.image)
    factor = kernel.factor
    if task.bearable(NDIMAGE, 2 * kernel.shape[0]):
        between = np.zeros(image.shape, np.float32)

        def correlate1d() -> NDArray[Any]:
            ndimage.correlate1d(image, factor, 0, output=between, mode="mirror")
            ndimage.correlate1d(between, factor, 1, output=full, mode="mirror")
            return full

        yield Way("SciPy correlate1d twice", correlate1d, task.nhwc)
    if kernel.kind == "box":

        def uniform() -> NDArray[Any]:
            ndimage.uniform_filter(image, kernel.shape, output=full, mode="mirror", axes=(0, 1))
            return full

        yield Way("SciPy uniform_filter", uniform, task.nhwc)


def _pillow(task: Task) -> Iterator[Way]:
    """8-bit images; BoxBlur is a box where the radius is whole, GaussianBlur three boxes."""
    case, kernel = task.case, task.case.kernel
    if not case.per_channel or task.images.dtype != np.uint8 or case.stride > 1:
        return
    if task.images.shape[3] not in (1, 3):
        return
    from PIL import Image, ImageFilter

    image = Image.fromarray(task.image)

    def way(name: str, filter: Any, *, approximate: bool = False) -> Way:
        return Way(
            f"Pillow {name}",
            lambda: image.filter(filter),
            lambda result: task.nhwc(np.asarray(result)),
            rim=False,  # a Kernel leaves the rim as it is, a blur repeats the edge
            approximate=approximate,
        )

    taps, divisor = task.dense_whole
    if taps.shape in ((3, 3), (5, 5)):
        # Its rows run upwards.
        order = taps[::-1].ravel().tolist()
        yield way("Kernel", ImageFilter.Kernel(taps.shape, order, divisor))
    radius = (kernel.shape[0] - 1) // 2
    if kernel.kind == "box":
        yield way("BoxBlur", ImageFilter.BoxBlur(radius))
    if kernel.kind == "gaussian":
        yield way("GaussianBlur", ImageFilter.GaussianBlur(kernel.sigma), approximate=True)


def _torch(task: Task) -> Iterator[Way]:
    torch = import_module("torch")
    torch.set_num_threads(task.threads)
    yield from torch_ways(torch, task, "cpu")


def torch_ways(torch: Any, task: Task, device: Any) -> Iterator[Way]:
    """conv2d in both layouts: layers, and small filters of images as depthwise layers.

    Its padding is of zeros, as much on one side as on the other. Where the case asks for another
    it is given images that are padded already, which costs it nothing.

    Parameters
    ----------
    torch : module
    task : Task
    device : str or torch.device
        Where it computes, and where its input lies.
    """
    case, settled = task.case, task.settled
    if task.images.dtype != np.float32 or case.group not in TORCH_GROUPS:
        return
    if case.op is Op.CONV2D_TRANSPOSE:
        yield from _torch_transposed(torch, task, device)
        return
    channels = task.images.shape[3]
    weights, groups = task.weights, case.groups
    if case.per_channel:
        weights, groups = np.repeat(weights[:, :, None, None], channels, 3), channels
    images, (top, bottom, left, right) = task.images, settled.pads
    own = not any(settled.pads) or (case.border == "zero" and (top, left) == (bottom, right))
    if not own:
        mode: Any = "constant" if case.border == "zero" else case.border
        images = np.pad(images, ((0, 0), (top, bottom), (left, right), (0, 0)), mode)
    options = {
        "stride": case.stride,
        "dilation": case.dilation,
        "groups": groups,
        "padding": (top, left) if own else 0,
    }
    yield from _in_both_layouts(
        torch,
        images,
        weights,
        device,
        lambda x, w: torch.nn.functional.conv2d(x, w, **options),
    )


def _in_both_layouts(
    torch: Any,
    images: NDArray[Any],
    weights: NDArray[Any],
    device: Any,
    compute: Callable[[Any, Any], Any],
) -> Iterator[Way]:
    """Yield a call for each order of axes in memory."""
    # Views in the order that it calls NCHW; in memory they are NHWC, its channels_last.
    x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    w = torch.from_numpy(np.ascontiguousarray(weights)).to(device).permute(3, 2, 0, 1)
    for name, layout in (
        ("NCHW", torch.contiguous_format),
        ("channels_last", torch.channels_last),
    ):
        inputs = [array.contiguous(memory_format=layout) for array in (x, w)]

        def call(inputs: list[Any] = inputs) -> Any:
            with torch.inference_mode():
                return compute(*inputs)

        yield Way(f"PyTorch {name}", call, lambda y: y.permute(0, 2, 3, 1).cpu().numpy())


def _torch_transposed(torch: Any, task: Task, device: Any) -> Iterator[Way]:
    """conv_transpose2d in both layouts, which writes the very size that is wanted.

    Its padding takes as much away on one side as on the other: where the case wants less at the
    end, output_padding adds it, and what is too much is cut off, as a view.
    """
    case, settled = task.case, task.settled
    channels, axes = task.images.shape[3], (settled.rows, settled.cols)
    weights, groups = task.weights, case.groups
    if case.per_channel:
        weights, groups = np.repeat(weights[:, :, None, None], channels, 3), channels
    plain = [(axis.o - 1) * axis.s - 2 * axis.before + axis.window for axis in axes]
    options = {
        "stride": case.stride,
        "dilation": case.dilation,
        "groups": groups,
        "padding": tuple(axis.before for axis in axes),
        "output_padding": tuple(
            max(axis.i - size, 0) for axis, size in zip(axes, plain, strict=True)
        ),
    }

    def compute(x: Any, w: Any) -> Any:
        y = torch.nn.functional.conv_transpose2d(x, w, **options)
        return y[:, :, : settled.rows.i, : settled.cols.i]

    yield from _in_both_layouts(torch, task.images, weights, device, compute)


def _attribute(module: str) -> Callable[[], str]:
    return lambda: str(import_module(module).__version__)


def _vips_version() -> str:
    pyvips = import_module("pyvips")
    return ".".join(str(pyvips.version(part)) for part in range(3))


PEERS = (
    Peer("opencv", "OpenCV", "opencv-python-headless", _attribute("cv2"), _opencv),
    Peer("libvips", "libvips", "pyvips[binary]", _vips_version, _libvips),
    Peer("scipy", "SciPy", "scipy", _attribute("scipy"), _scipy),
    Peer("pillow", "Pillow", "pillow", _attribute("PIL"), _pillow),
    Peer("torch", "PyTorch", "torch", _attribute("torch"), _torch, transposes=True),
)


@cache
def version(peer: Peer) -> str | None:
    """Import a peer; return its version, or None where it is not there or does not load."""
    try:
        return peer.version()
    except Exception:  # a library that lacks a library fails in its own way
        return None


def absent(peers: tuple[Peer, ...] = PEERS) -> dict[str, str]:
    """Return the titles of those that are not there, and how they come to be."""
    return {peer.title: peer.hint for peer in peers if not version(peer)}


def chosen(text: str, peers: tuple[Peer, ...] = PEERS) -> list[Peer]:
    """Read ``all``, ``none``, or names.

    Parameters
    ----------
    text : str
        Names with commas between them; ``all`` are those that are installed.

    Raises
    ------
    UsageError
        Where there is no such peer, or it is asked for by name and not installed.
    """
    known: Mapping[str, Peer] = {peer.name: peer for peer in peers}
    words = [word.strip().lower() for word in text.split(",")]
    if words == ["none"]:
        return []
    if words == ["all"]:
        return [peer for peer in peers if version(peer)]
    for word in words:
        if word not in known:
            raise UsageError(
                f"--peers takes all, none or names, and there is no peer {word!r}",
                did_you_mean(word, known),
            )
        if not version(known[word]):
            raise UsageError(
                f"{known[word].title} is not installed, or does not load",
                f"{known[word].hint}, or use --peers all",
            )
    return [peer for peer in peers if peer.name in words]
