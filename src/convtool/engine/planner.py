"""Which engine and which method: what each would cost, by a model that was measured.

The model counts what a method does, numbers loaded, taps summed, results stored, and multiplies
with what each takes on one core. The constants were fitted to measurements of every method over
sizes, kernels and types (``benchmarks/calibrate.py``, which prints them anew for the machine it
runs on). Only their ratios decide, and those differ less from machine to machine than the times.
"""

from collections.abc import Iterator
from math import ceil, inf, isinf, prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convtool.engine import offload, phases, tiles
from convtool.engine.factors import constant, factors
from convtool.errors import EngineError
from convtool.geometry import Border, ConvPlan
from convtool.terms import EngineName, MethodName, Op

if TYPE_CHECKING:
    from convtool.engine.cuda.rates import Rates

# Which methods each engine has. NumPy's is the reference: patches and one matrix product.
METHODS = {
    EngineName.NUMPY: (MethodName.GEMM,),
    EngineName.CPU: (
        MethodName.DIRECT,
        MethodName.SEPARABLE,
        MethodName.GEMM,
        MethodName.FFT,
    ),
    EngineName.CUDA: (MethodName.DIRECT, MethodName.SEPARABLE, MethodName.GEMM),
}

# What each part of the work takes for one number, in nanoseconds on one core; in the NumPy engine
# on all that its BLAS uses. Vectors of 16 float32 at 2.5 GHz.
NANOSECONDS = {
    "load": 1.18,  # a pixel's channel, converted into a line
    "store": 0.237,  # a result, rounded and stored
    "tap": 0.028,  # a multiply-add of lines; 0.022 where a thread has a core to itself
    "narrow load": 0.25,  # a channel of an 8-bit or 16-bit pixel
    "small": 0.90,  # a result of a small kernel, from pixels to pixels
    "small tap": 0.0145,  # and a multiply-add for it
    "narrow small": 0.25,  # the same from 8-bit or 16-bit pixels, of which there are fewer bytes
    "narrow small tap": 0.028,  # but which are converted anew for every tap
    "down": 0.0417,  # a multiply-add down the columns
    "along": 0.0316,  # a multiply-add along the rows, where loads are the limit
    "box down": 0.0556,  # a line added down the columns
    "box along": 0.04,  # a number added along the rows
    "product": 0.02,  # a multiply-add across channels
    **tiles.NANOSECONDS,
    "numpy": 3.28,  # a result
    "numpy tap": 0.315,  # a number of a patch, copied and multiplied
    "numpy gather": 1.04,  # a number of a patch across channels, copied
    "apart": 0.3,  # a result among others' results, with its share of their cache line
    "narrow apart": 1.0,
    "part": 200_000,  # one of the convolutions that a transposed one is made of, laid out
    "numpy scatter": 2.5,  # a product added to what is there already
    "numpy scatter pixels": 7.5,  # the same pixel by pixel, of a few channels each
    "numpy call": 15_000,  # a tap of one image
    "numpy product": 0.0142,  # a multiply-add of its matrix
}

# Importing the engine and loading its machine code, which NumPy does without, in seconds.
START = 0.02


# Parts of the work, and how many numbers each handles.
Parts = dict[str, float]


class Option(NamedTuple):
    """One way to compute a plan.

    Parameters
    ----------
    engine, method : EngineName, MethodName
    seconds : float
        What it is estimated to take, on the machine that was measured; infinite on a GPU of which
        nothing was.
    how : str
        The method's variant in words, where it has some.
    """

    engine: EngineName
    method: MethodName
    seconds: float
    how: str = ""


class Choice(NamedTuple):
    """Who computes and how, with the reason in words and what else there was.

    Parameters
    ----------
    engine, method : EngineName, MethodName
    reason : str
    options : tuple of Option
    device : int
        The number of the GPU, where the cuda engine computes.
    otherwise : Option or None
        Who computes where a GPU that nobody asked for refuses to: its memory may be others'.
    """

    engine: EngineName
    method: MethodName
    reason: str
    options: tuple[Option, ...] = ()
    device: int = 0
    otherwise: Option | None = None

    @property
    def compiled(self) -> bool:
        """Whether the engine finishes a sum itself, up to what is stored: all but NumPy's do."""
        return self.engine is not EngineName.NUMPY


def options(
    settled: ConvPlan,
    weights: NDArray[np.generic] | None,
    threads: int,
    *,
    narrow: bool = False,
    apart: bool = False,
) -> tuple[Option, ...]:
    """Return every way to compute a plan on the processor, the quickest first.

    Parameters
    ----------
    settled : ConvPlan
    weights : ndarray (F, kh, kw) or HWIO, or None
        Without them, what depends on their values is left out.
    threads : int
        Of the cpu engine.
    narrow : bool
        Whether pixels are 8-bit or 16-bit.
    apart : bool
        Whether others' results come to lie between the results.
    """
    if settled.op is Op.CONV2D_TRANSPOSE:
        return _transposed_options(settled, weights, threads, narrow=narrow)
    found = [_option(EngineName.NUMPY, MethodName.GEMM, numpy_parts(settled))]
    if settled.per_channel or settled.kernel_shape[2] == 1:
        parts = direct(settled, written_out=small(settled) and not apart)
        found.append(_option(EngineName.CPU, MethodName.DIRECT, _narrowed(parts, narrow), threads))
    if not settled.per_channel:
        found.append(
            _option(EngineName.CPU, MethodName.GEMM, _narrowed(products(settled), narrow), threads)
        )
    else:
        cut = tiles.choose(settled)
        how = f"tiles of {cut.rows}x{cut.columns}"
        parts = tiles.parts(settled, cut)
        found.append(_option(EngineName.CPU, MethodName.FFT, parts, threads, how))
    if settled.per_channel and weights is not None:
        taps = np.asarray(weights, np.float64)
        parts, how = separable(settled, taps)
        if parts:
            parts = _narrowed(parts, narrow)
            found.append(_option(EngineName.CPU, MethodName.SEPARABLE, parts, threads, how))
    return tuple(sorted(found, key=lambda option: option.seconds))


def _transposed_options(
    settled: ConvPlan,
    weights: NDArray[np.generic] | None,
    threads: int,
    *,
    narrow: bool,
) -> tuple[Option, ...]:
    """Return the ways that every part of a transposed convolution can go."""
    number = phases.count(settled)
    able = [MethodName.DIRECT, MethodName.SEPARABLE, MethodName.FFT]
    ways = dict.fromkeys(able if settled.per_channel else [MethodName.GEMM], 0.0)
    for first, (part, taps, times) in enumerate(_parts(settled, weights)):
        # Results that lie apart are stored by the general way alone.
        seconds = {
            option.method: option.seconds * times
            for option in options(part, taps, threads, narrow=narrow, apart=number > 1)
            if option.engine is EngineName.CPU
        }
        known = dict.fromkeys(seconds, 0.0) if first == 0 else ways
        ways = {way: total + seconds[way] for way, total in known.items() if way in seconds}
    more = NANOSECONDS["part"] * 1e-9 * number
    if number > 1:
        name = "narrow apart" if narrow else "apart"
        more += NANOSECONDS[name] * 1e-9 * prod(settled.output_shape) / threads
    how = _apart(number)
    found = [Option(EngineName.CPU, way, total + more, how) for way, total in ways.items()]
    found.append(_option(EngineName.NUMPY, MethodName.GEMM, numpy_transposed_parts(settled)))
    return tuple(sorted(found, key=lambda option: option.seconds))


def _apart(parts: int) -> str:
    return f"{parts} convolutions of stride 1" if parts > 1 else ""


def _parts(
    settled: ConvPlan, weights: NDArray[np.generic] | None
) -> Iterator[tuple[ConvPlan, NDArray[np.float64] | None, int]]:
    """Yield the convolutions that a transposed one is made of.

    Yields
    ------
    plan : ConvPlan
    taps : ndarray or None
        Not of very many parts: which of them are outer products is not asked.
    times : int
        How many of the parts are like it.
    """
    filled = _filled(settled)
    few = phases.count(settled) <= phases.FEW
    each = [(part, 1) for part in phases.parts(filled)] if few else phases.alike(filled)
    for part, times in each:
        taps = None
        if weights is not None and settled.per_channel and few:
            taps = part.weights(np.asarray(weights, np.float64))
        yield part.plan, taps, times


def _filled(settled: ConvPlan) -> ConvPlan:
    """Return the plan with a border of zeros, which costs as much as any."""
    return settled._replace(spec=settled.spec._replace(border=Border()))


def _narrowed(parts: Parts, narrow: bool) -> Parts:
    """Name the parts that take another time for narrow pixels."""
    if not narrow:
        return parts
    other = {name: f"narrow {name}" for name in ("load", "small", "small tap")}
    return {other.get(name, name): amount for name, amount in parts.items()}


def _option(
    engine: EngineName, method: MethodName, parts: Parts, threads: int = 1, how: str = ""
) -> Option:
    seconds = sum(NANOSECONDS[part] * amount for part, amount in parts.items()) * 1e-9
    return Option(engine, method, seconds / threads, how)


def gpu_options(
    settled: ConvPlan,
    weights: NDArray[np.generic] | None,
    rates: "Rates | None",
    *,
    taken: float = 4,
    stored: float = 4,
) -> tuple[Option, ...]:
    """Return every way to compute a plan on a GPU, the quickest first.

    Parameters
    ----------
    settled, weights
        As for `options`.
    rates : Rates or None
        What was measured of the GPU. Without it the order is that of an ordinary one.
    taken, stored : float
        Bytes of a channel of a pixel, and of a number of the output.
    """
    up, down = taken * prod(settled.input_shape), stored * prod(settled.output_shape)
    found = [
        (offload.Load(up, down, macs), Option(EngineName.CUDA, method, inf, how))
        for method, (macs, how) in _gpu_ways(settled, weights).items()
    ]
    if rates is None:
        return tuple(option for _, option in sorted(found, key=lambda way: way[0].effort))
    timed = [option._replace(seconds=offload.seconds(load, rates)) for load, option in found]
    return tuple(sorted(timed, key=lambda option: option.seconds))


def _gpu_ways(
    settled: ConvPlan, weights: NDArray[np.generic] | None
) -> dict[MethodName, tuple[float, str]]:
    """Return how many multiply-adds each method of the cuda engine takes that can do a plan."""
    if settled.op is Op.CONV2D_TRANSPOSE:
        return _transposed_gpu_ways(settled, weights)
    found: dict[MethodName, tuple[float, str]] = {}
    if settled.per_channel or settled.kernel_shape[2] == 1:
        found[MethodName.DIRECT] = float(settled.macs), ""
    if not settled.per_channel:
        found[MethodName.GEMM] = float(settled.macs), ""
    elif weights is not None:
        from convtool.engine.cuda.launches import separable_tile

        split = factors(np.asarray(weights, np.float64))  # a box is an outer product like others
        if split is not None and separable_tile(settled):
            kh, kw = settled.kernel_shape[:2]
            terms = split[0].shape[1]
            fewer = terms * (kh + kw) / (kh * kw)
            found[MethodName.SEPARABLE] = settled.macs * fewer, _saved(terms, kh, kw)
    return found


def _transposed_gpu_ways(
    settled: ConvPlan, weights: NDArray[np.generic] | None
) -> dict[MethodName, tuple[float, str]]:
    """Return the multiply-adds of the methods that every part of a transposed one can go."""
    totals: dict[MethodName, float] | None = None
    for part, taps, times in _parts(settled, weights):
        macs = {method: times * each for method, (each, _) in _gpu_ways(part, taps).items()}
        known = dict.fromkeys(macs, 0.0) if totals is None else totals
        totals = {way: total + macs[way] for way, total in known.items() if way in macs}
    how = _apart(phases.count(settled))
    return {method: (macs, how) for method, macs in (totals or {}).items()}


def may_choose(option: Option, weights: NDArray[np.generic] | None) -> bool:
    """Whether `auto` may take it: whole numbers under kernels of whole numbers come out exact."""
    if option.method is not MethodName.FFT:
        return True
    return weights is not None and bool((weights != np.rint(weights)).any())


def choose(
    settled: ConvPlan,
    engine: EngineName = EngineName.AUTO,
    method: MethodName = MethodName.AUTO,
    *,
    weights: NDArray[np.generic] | None = None,
    threads: int = 1,
    macs: int | None = None,
    taken: float = 4,
    stored: float = 4,
    device: int = 0,
) -> Choice:
    """Choose the engine and the method for a plan.

    Parameters
    ----------
    settled : ConvPlan
    engine, method : EngineName, MethodName
        `auto`, or a name, which is then kept to.
    weights : ndarray, optional
        Of the kernel: whether it is separable depends on them.
    threads : int
        How many the cpu engine would use.
    macs : int, optional
        Multiply-adds of all the work ahead, where this plan is only a part of it: what makes
        loading a compiled engine worth it.
    taken : float
        Bytes of a channel of a pixel, as an engine reads it: 1, 2 or 4.
    stored : float
        Bytes of a number of the output, as it is stored.
    device : int
        The number of the GPU that the cuda engine would use.

    Raises
    ------
    EngineError
        Where the method asked for cannot do the plan, or the engine does not have it; names what
        can.
    DeviceError
        Where the cuda engine is asked for and there is no such GPU.
    """
    every = options(settled, weights, threads, narrow=taken < 4)
    share = (macs or settled.macs) / max(settled.macs, 1)

    def on_gpu(rates: "Rates | None") -> tuple[Option, ...]:
        return gpu_options(settled, weights, rates, taken=taken, stored=stored)

    if engine is EngineName.CUDA:
        every += on_gpu(offload.kept(device))
    allowed = _allowed(every, engine, method, weights)
    if not allowed:
        raise _refusal(every, engine, method, weights is not None)
    if engine is EngineName.CUDA:
        offload.require(device)
    # The NumPy engine is there at once; the others have to be loaded, for all the work ahead.
    start = {EngineName.NUMPY: 0.0, EngineName.CPU: START, EngineName.CUDA: 0.0}

    def whole(option: Option) -> float:
        return option.seconds * share + start[option.engine]

    best, otherwise = min(allowed, key=whole), None
    if engine is EngineName.AUTO and (rates := offload.kept_if_worth(whole(best), device)):
        start[EngineName.CUDA] = offload.start(rates)
        ways = on_gpu(rates)
        quickest = min(_allowed(ways, engine, method, weights), key=whole, default=best)
        if whole(quickest) >= whole(best):
            every += ways
        elif offload.usable(device):
            every += ways
            best = quickest
            processor = (option for option in allowed if option.engine is EngineName.CPU)
            otherwise = next(processor, None)
    every = tuple(sorted(every, key=lambda option: option.seconds))
    reason = _reason(best, allowed, engine, method)
    return Choice(best.engine, best.method, reason, every, device, otherwise)


def _allowed(
    every: tuple[Option, ...],
    engine: EngineName,
    method: MethodName,
    weights: NDArray[np.generic] | None,
) -> list[Option]:
    """Return the options that fit what is asked for."""
    return [
        option
        for option in every
        if engine in (EngineName.AUTO, option.engine)
        and (method is option.method or (method is MethodName.AUTO and may_choose(option, weights)))
    ]


def _reason(best: Option, allowed: list[Option], engine: EngineName, method: MethodName) -> str:
    if best.engine is EngineName.CUDA and engine is EngineName.AUTO:
        return "the GPU, by measured rates"
    if len(allowed) == 1:
        asked = engine is not EngineName.AUTO or method is not MethodName.AUTO
        return "as asked" if asked else "the only way"
    if isinf(best.seconds):
        return best.how or "as asked"
    if best.engine is EngineName.NUMPY and allowed[0] is not best:
        return "done before the compiled engine is loaded"
    return best.how or "the quickest by estimate"


def _refusal(
    every: tuple[Option, ...], engine: EngineName, method: MethodName, known: bool
) -> EngineError:
    if engine is not EngineName.AUTO and method not in METHODS[engine]:
        return EngineError(
            f"the engine {engine} does not have the method {method}, only "
            f"{', '.join(METHODS[engine])}",
            "leave one of the two out",
        )
    able = sorted({option.method for option in every if engine in (EngineName.AUTO, option.engine)})
    who = "" if engine is EngineName.AUTO else f" in the engine {engine}"
    why = {
        MethodName.DIRECT: "it filters each channel by itself",
        MethodName.SEPARABLE: "the filters must be outer products, or sums of a few, each for "
        "one channel",
        MethodName.FFT: "it filters each channel by itself",
        MethodName.GEMM: "it sums across channels",
    }[method]
    if engine is EngineName.CUDA and method is MethodName.SEPARABLE:
        why += ", and a row of windows must fit the GPU's shared memory"
    return EngineError(
        f"the method {method} cannot do this{who}: {why}" if known else f"no {method}{who}",
        f"use --method {' or '.join(able)}, or leave it out",
    )


def _sizes(settled: ConvPlan) -> tuple[float, float]:
    """Return how many numbers are loaded and how many stored."""
    n, oh, ow, oc = settled.output_shape
    rows, cols = settled.rows, settled.cols
    read = min(rows.o * min(rows.k, rows.s), rows.i) * min(cols.o * cols.s + cols.k, cols.i)
    return float(n * read * settled.input_shape[3]), float(n * oh * ow * oc)


# Kernels that are written out, tap by tap: heights and widths, and how many taps in all filters.
SMALL_SIZES = (1, 3, 5, 7)
SMALL_TAPS = 50


def small(settled: ConvPlan) -> bool:
    """Whether the kernel and the strides are of those for which machine code is written out."""
    rows, cols = settled.rows, settled.cols
    return (
        settled.per_channel
        and settled.input_shape[3] <= 4
        and rows.k in SMALL_SIZES
        and cols.k in SMALL_SIZES
        and settled.filters * rows.k * cols.k <= SMALL_TAPS
        and (rows.s == cols.s or rows.o == 1 or cols.o == 1)
        and max(rows.s, cols.s) <= 4
    )


def direct(settled: ConvPlan, *, written_out: bool) -> Parts:
    """Count the parts of summing every tap, by code that is written out for the kernel or not."""
    loaded, stored = _sizes(settled)
    kh, kw = settled.kernel_shape[:2]
    if written_out:
        # Every column of a row is summed, the strided ones are stored.
        summed = stored * min(settled.cols.s, 4)
        return {"small": summed, "small tap": summed * kh * kw}
    # With a stride of the rows, fewer rows of a tile share what is loaded.
    shared = 1 if settled.rows.s == 1 else 1.6
    return {"load": loaded, "tap": stored * kh * kw * shared, "store": stored}


def separable(settled: ConvPlan, weights: NDArray[np.float64]) -> tuple[Parts, str]:
    """Count the parts of summing down and along, and say how; none where that cannot be."""
    loaded, stored = _sizes(settled)
    kh, kw = settled.kernel_shape[:2]
    parts: Parts = {"load": loaded, "store": stored}
    if constant(settled, weights):
        some = max(round(kw**0.5), 1)
        # Lines that a tile of rows adds once, and those that every row adds.
        parts["box down"] = stored * (kh / min(kh, 16) + 3)
        parts["box along"] = stored * (some + kw // some + kw % some)
        return parts, "a box: shared sums"
    found = factors(weights)
    if found is None:
        return {}, ""
    terms = found[0].shape[1]
    parts["down"] = terms * settled.filters * loaded / settled.rows.s * kh
    parts["along"] = terms * stored * (kw + 4)
    return parts, _saved(terms, kh, kw)


def _saved(terms: int, kh: int, kw: int) -> str:
    """Say what a sum of outer products saves."""
    if terms == 1:
        return f"{kh} + {kw} multiplications instead of {kh * kw}"
    return f"rank {terms}: {terms} · ({kh} + {kw}) multiplications instead of {kh * kw}"


def products(settled: ConvPlan) -> Parts:
    """Count the parts of sums across channels."""
    loaded, stored = _sizes(settled)
    kh, kw, inputs, outputs = settled.kernel_shape
    each = outputs // settled.groups
    # What a tile computes beyond the last output channel is lost.
    wide = 32 * ceil(each / 32) if each > 16 else 16 if each > 8 else 12
    macs = stored / each * wide * kh * kw * inputs
    return {"load": loaded, "product": macs, "store": stored}


def numpy_transposed_parts(settled: ConvPlan) -> Parts:
    """Count the parts of the NumPy engine's transposed way: products, added where they belong."""
    n, h, w, _ = settled.input_shape
    kh, kw = settled.kernel_shape[:2]
    added = float(n * h * w * settled.output_shape[3] * kh * kw)
    parts = {"numpy": float(prod(settled.output_shape)), "numpy call": float(n * kh * kw)}
    if not settled.per_channel:
        return parts | {"numpy scatter": added, "numpy product": float(settled.macs)}
    few = settled.input_shape[3] > 1
    return parts | {"numpy scatter pixels" if few else "numpy scatter": added}


def numpy_parts(settled: ConvPlan) -> Parts:
    """Count the parts of the NumPy engine: patches, and a product."""
    _, stored = _sizes(settled)
    kh, kw = settled.kernel_shape[:2]
    if settled.per_channel:
        return {"numpy": stored, "numpy tap": stored / settled.filters * kh * kw}
    # Each of many groups is a small product of its own.
    apart = 1 if settled.groups < 8 else 4
    windows = stored / settled.output_shape[3]
    gathered = windows * kh * kw * settled.input_shape[3]
    return {"numpy gather": gathered * apart, "numpy product": settled.macs * float(apart)}
