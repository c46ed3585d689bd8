"""The words of a batch: what is asked for, what is planned, what came of it."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convtool.engine.planner import Choice
from convtool.errors import ConvtoolError
from convtool.geometry import ConvPlan, ConvSpec, Note, Shape
from convtool.images import Format, Header
from convtool.kernels import Kernel
from convtool.terms import (
    MAX_PIXELS,
    Activation,
    AlphaMode,
    Combine,
    Depth,
    EngineName,
    MethodName,
    RangeMode,
)

if TYPE_CHECKING:
    from convtool.batch.stacked import Stacked
    from convtool.stack.chain import Settled


class Request(NamedTuple):
    """Everything that the command line says about the work, except the inputs.

    Of a stack of layers the kernel is the identity, under the stack's name.
    """

    spec: ConvSpec
    kernel: Kernel
    bias: tuple[float, ...] | None = None
    activation: Activation = Activation.NONE
    combine: Combine | None = None
    range: RangeMode | None = None
    alpha: AlphaMode = AlphaMode.AUTO
    depth: Depth | None = None
    engine: EngineName = EngineName.AUTO
    method: MethodName = MethodName.AUTO
    threads: int | None = None
    device: int = 0
    output: str | None = None
    format: str | None = None
    quality: int | None = None
    compress_level: int | None = None
    linear: bool = False
    max_pixels: int = MAX_PIXELS
    verify: bool = False
    kernel_files: tuple[Path, ...] = ()
    no_clobber: bool = False
    skip_existing: bool = False
    stack: "Stacked | None" = None

    @property
    def combination(self) -> Combine:
        """How the filters' responses are combined: as asked, or as the kernel says."""
        return self.combine or self.kernel.combine or Combine.EACH


class Source(NamedTuple):
    """One input: a file, or standard input.

    Parameters
    ----------
    name : str
        As the person wrote or would recognise it; ``-`` for standard input.
    path : Path, optional
        None for standard input.
    inside : Path
        The folder it lies in, relative to the folder given with --recursive.
    found : bool
        Whether it was found in a folder, or by a pattern, rather than named.
    problem : str
        Why there is nothing to be read: a folder that could not be looked into, a pattern that
        matches nothing.
    data : bytes
        What standard input held, or a pipe.
    """

    name: str
    path: Path | None = None
    inside: Path = Path()
    found: bool = False
    problem: str = ""
    data: bytes = b""

    @property
    def content(self) -> Path | bytes:
        """What the readers of `images` take."""
        return self.path if self.path is not None and not self.data else self.data


class Target(NamedTuple):
    """One output: a path, or None for standard output, and what of the result goes there."""

    path: Path | None
    frame: int | None = None
    filter: int | None = None

    @property
    def name(self) -> str:
        """The path as text; ``-`` for standard output."""
        return "-" if self.path is None else str(self.path)


class Job(NamedTuple):
    """One input with everything settled.

    Parameters
    ----------
    source : Source
    header : Header
    plan : ConvPlan
        Of the channels that are convolved.
    alpha : AlphaMode or None
        What becomes of the alpha channel; None where there is none of its own.
    combine, range, depth, format
        How responses become pixels, and where they go.
    output_shape : (N, H, W, C)
        After combining, alpha counted.
    has_alpha : bool
        Whether the last of these channels is alpha.
    parts : int
        How many images the responses make.
    targets : tuple of Target
    choice : Choice
        Of a stack, who computes all of its layers.
    notes : tuple of Note
    chain : tuple of Settled
        The layers of a stack, up to the last one shown. The plan is then that of the identity on
        what the first layer gets, and the output shape that of the last layer.
    choices : tuple of Choice or None
        One for each of these layers; None where no engine has a part in it.
    """

    source: Source
    header: Header
    plan: ConvPlan
    alpha: AlphaMode | None
    combine: Combine
    range: RangeMode
    depth: Depth
    format: Format
    output_shape: Shape
    has_alpha: bool
    parts: int
    targets: tuple[Target, ...]
    choice: Choice
    notes: tuple[Note, ...]
    chain: "tuple[Settled, ...]" = ()
    choices: tuple[Choice | None, ...] = ()


class Task(NamedTuple):
    """One input that is to be done, its outputs named.

    Parameters
    ----------
    source : Source
    number : int
        Among the inputs, from 0.
    targets : tuple of Target
    job : Job, optional
        With everything settled, where the header had to be read for the names.
    """

    source: Source
    number: int
    targets: tuple[Target, ...]
    job: Job | None = None


class Verified(NamedTuple):
    """How far a result is from the reference engine's.

    Parameters
    ----------
    error : float
        The largest difference of two responses.
    largest : float
        The largest response, to compare it with.
    pixels : float or None
        The largest difference of two stored values; None where they are a drawing of the responses.
    """

    error: float
    largest: float
    pixels: float | None


class Done(NamedTuple):
    """An input that was convolved and written."""

    job: Job
    minimum: float | None
    maximum: float | None
    clipped: float
    read: float
    compute: float
    write: float
    notes: tuple[Note, ...]
    verified: Verified | None = None


class Skipped(NamedTuple):
    """An input whose outputs all exist already."""

    source: Source
    targets: tuple[Target, ...]


class Planned(NamedTuple):
    """An input that would be done, were this not a dry run."""

    job: Job


class LeftOut(NamedTuple):
    """A file that --recursive found, which is an earlier output for another input."""

    source: Source


class Failed(NamedTuple):
    """An input that could not be done."""

    source: Source
    error: ConvtoolError


Event = Done | Skipped | Planned | LeftOut | Failed
