"""How responses are laid out as images: alpha, depth, range, format, images per input."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convtool import images
from convtool.batch.model import Request, Source
from convtool.batch.naming import fields_of, is_folder, suffix_of_maps
from convtool.batch.transposed import input_channels, tap_sums
from convtool.engine import Choice
from convtool.errors import UsageError
from convtool.geometry import ConvPlan, Note, Shape, plan, size_text
from convtool.images import Format, Header
from convtool.responses import grid_shape
from convtool.terms import AlphaMode, Combine, Depth, Op, RangeMode

if TYPE_CHECKING:
    from convtool.stack.chain import Settled

# How pixels of each depth are kept in memory, and how many bytes a channel takes.
DTYPES = {Depth.EIGHT: "uint8", Depth.SIXTEEN: "uint16", Depth.FLOAT: "float32"}
BYTES = {Depth.EIGHT: 1, Depth.SIXTEEN: 2, Depth.FLOAT: 4}


def settle_alpha(request: Request, header: Header) -> AlphaMode | None:
    """Say what becomes of the alpha channel; None where there is none, or it is a plain channel."""
    if not header.alpha:
        return None
    kernel, asked = request.kernel, request.alpha
    if len(kernel.shape) == 4:
        takes = input_channels(kernel, request.spec)
        if takes == header.shape[3] and asked is AlphaMode.AUTO:
            return None
        if asked in (AlphaMode.PREMULTIPLY, AlphaMode.FILTER):
            raise UsageError(
                f"--alpha {asked} needs a kernel that filters every channel by itself, but "
                f"{kernel.name} is {size_text(kernel.shape)}, across channels",
                "leave --alpha out, or use --alpha drop with a kernel for the colours alone",
            )
        return AlphaMode.KEEP if asked is AlphaMode.AUTO else asked
    if asked not in (AlphaMode.AUTO, AlphaMode.PREMULTIPLY):
        return asked
    weighs = _weighs(request, header)
    if asked is AlphaMode.AUTO:
        return AlphaMode.PREMULTIPLY if weighs else AlphaMode.KEEP
    if not weighs:
        where = " for each output" if request.spec.op is Op.CONV2D_TRANSPOSE else ""
        raise UsageError(
            f"--alpha premultiply needs filters whose taps do not sum to zero{where}; those of "
            f"{kernel.name} do",
            "use --alpha keep",
        )
    return asked


def _weighs(request: Request, header: Header) -> bool:
    """Whether the taps that meet in an output sum to something, wherever that output is."""
    spec, kernel = request.spec, request.kernel
    if spec.op is Op.CONV2D:
        return all(kernel.sums)
    alone = plan(spec._replace(groups=1), (*header.shape[:3], 1), kernel.shape)
    return bool(tap_sums(kernel, alone).all())


def output_suffix(request: Request) -> str | None:
    """Return the suffix that the output's name gives itself; None where the input's is taken."""
    output = request.output
    if output in (None, "-") or output.endswith("{ext}") or is_folder(output):
        return None
    return Path(output).suffix


def holds_frames(form: Format, target: str, header: Header) -> bool:
    """Say whether an output is for several pictures.

    A .png is taken for one picture, although it can be animated, unless the input is such a one.
    """
    still = form.name == "PNG" and header.format != "PNG" and not target.endswith(".apng")
    return form.frames and not still


def output_format(request: Request, source: Source, header: Header) -> Format:
    """Return the output's format: what its name says, --format, or the input's."""
    suffix = output_suffix(request) or request.format
    if suffix is None:
        suffix = (source.path and source.path.suffix) or header.format
        if request.stack is not None and not (request.output or "").endswith("{ext}"):
            suffix = suffix_of_maps(request.stack, suffix)
    return images.format_of(suffix)


def settle_depth(
    request: Request, header: Header, form: Format
) -> tuple[Depth, RangeMode, tuple[Note, ...]]:
    """Settle how the output stores a channel, and how responses become its numbers."""
    can_float = Depth.FLOAT in form.depths
    if form.name == "NPY" and request.depth not in (None, Depth.FLOAT):
        raise UsageError(
            f"a .npy output holds float32, not --depth {request.depth}",
            "leave --depth out, or write a .png or .tif",
        )
    depth = request.depth or header.depth
    if form.name == "NPY" or (request.range is RangeMode.RAW and request.depth is None):
        depth = Depth.FLOAT
    notes: tuple[Note, ...] = ()
    if depth is Depth.FLOAT and not can_float:
        if request.depth is Depth.FLOAT:
            raise UsageError(
                f"{form.name} holds whole numbers only, not --depth float",
                "write to .npy or .tif, or leave --depth out",
            )
        if request.range is RangeMode.RAW:
            raise UsageError(
                f"{form.name} holds whole numbers only, not raw responses",
                "write to .npy or .tif, or use --range clip, abs, signed or stretch",
            )
        depth = Depth.EIGHT
        notes = (
            ()
            if request.range is RangeMode.STRETCH
            else (
                Note(
                    "float-scale",
                    f"the input is float and {form.name} is not: 1.0 is written as white (255)",
                    "--range stretch fits the scale to the values",
                ),
            )
        )
    if depth is not Depth.FLOAT and request.range is RangeMode.RAW:
        raise UsageError(
            f"--range raw needs float output, but --depth is {depth}", "leave one of the two out"
        )
    mode = request.range or (RangeMode.RAW if depth is Depth.FLOAT else RangeMode.CLIP)
    return depth, mode, notes


class Arranged(NamedTuple):
    """How the responses are laid out as images.

    Parameters
    ----------
    shape : (N, H, W, C)
        Of all the responses together, alpha counted.
    parts : int
        How many images they make.
    colours : int
        Channels of each image, without alpha.
    alpha : bool
        Whether each image has alpha.
    """

    shape: Shape
    parts: int
    colours: int
    alpha: bool


class Kind(NamedTuple):
    """What inputs of one shape and type, which go to one type of file, have in common.

    Beside `arranged` the fields are those of `Job`.
    """

    plan: ConvPlan
    alpha: AlphaMode | None
    arranged: Arranged
    depth: Depth
    range: RangeMode
    choice: Choice
    notes: tuple[Note, ...]
    chain: "tuple[Settled, ...]" = ()
    choices: tuple[Choice | None, ...] = ()


def arrange(request: Request, settled: ConvPlan, alpha: AlphaMode | None, form: Format) -> Arranged:
    """Lay out responses: one channel is a grey image, three are RGB, others one image per filter.

    A .npy holds all channels, unless the output's name tells filters apart.
    """
    n, h, w, _ = settled.output_shape
    channels, filters = response_axes(settled, alpha)
    if request.combination is Combine.GRID:
        h, w = grid_shape(filters, h, w)
    elif request.combination is Combine.EACH:
        channels *= filters
    else:
        filters = 1
    apart = "filter" in fields_of(request.output or "")
    fits = form.name == "NPY" or channels in (1, 3)
    parts = 1
    if request.combination is Combine.EACH and (apart or not fits):
        parts = filters
    if form.name != "NPY" and channels // parts not in (1, 3):
        parts = channels  # two, or more than three, channels of one filter are no picture
    colours = channels // parts
    kept = alpha in (AlphaMode.KEEP, AlphaMode.PREMULTIPLY, AlphaMode.FILTER)
    # Feature maps have no colours that an alpha could belong to.
    has_alpha = kept and (settled.per_channel or (parts == 1 and colours in (1, 3)))
    return Arranged((n, h, w, channels + has_alpha), parts, colours, has_alpha)


def response_axes(settled: ConvPlan, alpha: AlphaMode | None) -> tuple[int, int]:
    """Return (K, F): F filters on each of K colour channels; K is 1 for filters across channels."""
    if settled.per_channel:
        together = alpha in (AlphaMode.PREMULTIPLY, AlphaMode.FILTER)
        return settled.input_shape[3] - together, settled.filters
    return 1, settled.filters


def fuses(settled: ConvPlan, alpha: AlphaMode | None, how: Combine, mode: RangeMode) -> bool:
    """Whether a compiled engine can do all there is to do with a sum as it stores it.

    Not where the colour is freed of its alpha, where all responses must be seen before the first
    is stored, or where filters across channels are combined.
    """
    return not (
        alpha in (AlphaMode.PREMULTIPLY, AlphaMode.FILTER)
        or mode is RangeMode.STRETCH
        or how is Combine.GRID
        or (how is not Combine.EACH and not settled.per_channel)
    )
