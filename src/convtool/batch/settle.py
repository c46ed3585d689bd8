"""One input whose header is read: its plan, type, names and engine; once for all of one kind."""

from convtool import engine, images
from convtool.batch.layout import (
    BYTES,
    DTYPES,
    Kind,
    arrange,
    fuses,
    holds_frames,
    output_format,
    settle_alpha,
    settle_depth,
)
from convtool.batch.model import Job, Request, Source, Target
from convtool.batch.naming import targets_of
from convtool.batch.remarks import plan_notes
from convtool.errors import ImageError, UsageError
from convtool.geometry import ConvPlan, Note, plan, size_text
from convtool.images import Format, Header
from convtool.terms import AlphaMode, Combine, Depth, Op, RangeMode


class Settler:
    """Settles one input after the other; those of one kind share one plan.

    Parameters
    ----------
    request : Request
    inputs : int
        How many there are: loading a compiled engine may pay for all of them together.
    """

    def __init__(self, request: Request, inputs: int) -> None:
        self.request = request
        self.inputs = inputs
        # Written to by several threads: at worst one of them works out what is there already.
        self._kinds: dict[tuple[Header, str], Kind] = {}

    def job(self, source: Source, number: int, header: Header) -> Job:
        """Settle everything about one input.

        Raises
        ------
        ConvtoolError
            Where the request cannot be done with it; a UsageError where no input of this shape
            and type would do.
        """
        request = self.request
        form = output_format(request, source, header)
        kind = self._kinds.get((header, form.name))
        if kind is None:
            kind = self._kinds[header, form.name] = self._settle(header, form)
        frames = header.shape[0]
        targets = tuple(
            targets_of(request, source, number, parts=kind.arranged.parts, frames=frames, form=form)
        )
        together = frames if targets[0].frame is None else 1
        if together > 1 and not holds_frames(form, targets[0].name, header):
            raise UsageError(
                f"{source.name} has {frames} frames and {form.name} holds one picture, but the "
                f"output name {targets[0].name} has no {{frame}}",
                "put {frame} in the name, or write .gif, .webp, .apng, .tif or .npy",
            )
        images.check(
            form,
            channels=kind.arranged.colours + kind.arranged.alpha,
            alpha=kind.arranged.alpha,
            depth=kind.depth,
            frames=together,
        )
        return Job(
            source=source,
            header=header,
            plan=kind.plan,
            alpha=kind.alpha,
            combine=request.combination,
            range=kind.range,
            depth=kind.depth,
            format=form,
            output_shape=kind.arranged.shape,
            has_alpha=kind.arranged.alpha,
            parts=kind.arranged.parts,
            targets=targets,
            choice=kind.choice,
            notes=kind.notes,
            chain=kind.chain,
            choices=kind.choices,
        )

    def _settle(self, header: Header, form: Format) -> Kind:
        request, kernel = self.request, self.request.kernel
        if request.stack is not None:
            from convtool.batch import stacked  # and with it all that stacks need

            return stacked.fit(request, header, form, self.inputs)
        alpha = settle_alpha(request, header)
        n, h, w, channels = header.shape
        if alpha in (AlphaMode.KEEP, AlphaMode.DROP):
            channels -= 1
        settled = plan(request.spec, (n, h, w, channels), kernel.shape, filters=kernel.filters)
        _check_size(settled, request.max_pixels)
        arranged = arrange(request, settled, alpha, form)
        depth, mode, notes = settle_depth(request, header, form)
        if alpha not in (None, AlphaMode.DROP) and not arranged.alpha:
            alpha = AlphaMode.DROP
            notes += (
                Note("alpha-dropped", "feature maps have no alpha: that of the input is left out"),
            )
        seen = Depth.FLOAT if request.linear else header.depth
        choice = engine.choose(
            settled,
            request.engine,
            request.method,
            weights=kernel.weights,
            threads=request.threads,
            macs=settled.macs * self.inputs,
            dtype=DTYPES[seen],
            stored=_stored(request, settled, alpha, mode, depth),
            device=request.device,
        )
        notes = (*plan_notes(settled, kernel), *notes)
        return Kind(settled, alpha, arranged, depth, mode, choice, notes)


def _stored(
    request: Request, settled: ConvPlan, alpha: AlphaMode | None, mode: RangeMode, depth: Depth
) -> float:
    """Return how many bytes a compiled engine stores for each number of the output."""
    if not fuses(settled, alpha, request.combination, mode):
        return BYTES[Depth.FLOAT]
    each = BYTES[Depth.FLOAT if request.linear else depth]
    return each if request.combination is Combine.EACH else each / settled.filters


def _check_size(settled: ConvPlan, most: int) -> None:
    """Refuse a transposed convolution that would make a picture of a size that is hardly meant."""
    n, h, w, _ = settled.output_shape
    if settled.op is Op.CONV2D_TRANSPOSE and n * h * w > most:
        raise ImageError(
            f"the result {size_text(settled.output_shape)} would have {n * h * w} pixels, but at "
            f"most {most} are made",
            f"use a smaller --stride, or --max-pixels {n * h * w} if it is meant",
        )


def reserved(job: Job, names: tuple[Target, ...]) -> Job:
    """Return the job if its outputs are those that were named before its header was read.

    Raises
    ------
    ImageError
        Where they are not: nobody has seen to it that nothing else is written there.
    """
    if names and job.targets != names:
        raise ImageError(
            f"its responses make {len(job.targets)} images, which its name did not tell",
            "give it alone, or put {filter} or {frame} into the output name",
        )
    return job
