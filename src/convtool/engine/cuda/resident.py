"""A convolution whose images are on the GPU already: what benchmarks time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convtool.engine import phases
from convtool.engine.cuda import device as devices
from convtool.engine.cuda import pipeline, prepare
from convtool.engine.cuda.layout import chunk_of, stage
from convtool.engine.finish import Finish
from convtool.geometry import ConvPlan
from convtool.terms import MethodName, Op


class Resident:
    """Images, weights and room for the results, on a GPU.

    Parameters
    ----------
    images : ndarray (N, H, W, C)
    weights : ndarray (F, kh, kw) or HWIO, float64
    settled : ConvPlan
    method : MethodName
    finish : Finish
    device : int
    """

    def __init__(
        self,
        images: NDArray[np.generic],
        weights: NDArray[np.float64],
        settled: ConvPlan,
        method: MethodName,
        finish: Finish,
        device: int = 0,
    ) -> None:
        if settled.op is Op.CONV2D_TRANSPOSE:
            assert not phases.unreached(settled), "outputs that no tap reaches are not timed"
            settled, images = phases.with_border(settled, images)
        self._cuda = devices.numba_cuda()
        self._device = device
        with devices.said(), self._cuda.gpus[device]:
            self._work = prepare(images.dtype, weights, settled, method, finish)
            layout = self._work.layout
            self._chunk = chunk_of(layout, (0, layout.shape[0]), (0, layout.shape[1]))
            self._slot = pipeline.Slot(self._cuda)
            pinned = self._slot.pinned_in.of(layout.filled(self._chunk), self._work.dtype)
            stage(images, layout, self._chunk, pinned)
            self._images = self._slot.images.of(layout.numbers(self._chunk), self._work.dtype)
            self._slot.images.of(pinned.size, self._work.dtype).copy_to_device(pinned)
            self._results = self._slot.results.of(layout.out_numbers(self._chunk), finish.dtype)
            self._slot.pinned_in.clear()

    def launch(self) -> None:
        """Enqueue the kernels once."""
        with devices.said(), self._cuda.gpus[self._device]:
            pipeline.compute(self._work, self._chunk, self._images, self._results, self._slot)

    def seconds(self, repeats: int) -> list[float]:
        """Return the seconds that each of so many launches takes on the GPU, by its events."""
        stream, found = self._slot.stream, []
        with self._cuda.gpus[self._device]:
            for _ in range(repeats):
                begin, end = self._cuda.event(), self._cuda.event()
                begin.record(stream)
                self.launch()
                end.record(stream)
                end.synchronize()
                found.append(float(begin.elapsed_time(end)) / 1e3)
        return found

    def result(self) -> NDArray[Any]:
        """Return the results (N, OH, OW, OC) of the last launch."""
        layout, chunk = self._work.layout, self._chunk
        n, oh, ow = layout.shape
        out = np.empty((n, oh, ow, layout.results), self._work.finish.dtype)
        with self._cuda.gpus[self._device]:
            self._slot.stream.synchronize()
            lines = self._results.copy_to_host().reshape(n, oh, layout.out_pitch)
        out[...] = lines[:, :, : ow * layout.results].reshape(out.shape)
        assert chunk.images == (0, n)
        return out


def resident(
    images: NDArray[np.generic],
    weights: NDArray[np.float64],
    settled: ConvPlan,
    method: MethodName,
    finish: Finish,
    device: int = 0,
) -> Resident:
    """Send images and weights to a GPU; see `Resident`."""
    devices.require(device)
    return Resident(images, weights, settled, method, finish, device)
