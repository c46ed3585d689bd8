"""The threads of a simulated block, one after the other instead of side by side.

Numba's simulator starts a thread of the system for each thread of a block, and asks all of them
over and over whether they wait for each other. Here they are greenlets: each runs to the next
barrier, and then another one has its turn, in an order that is drawn anew behind each barrier. That
takes a tenth of the time, is the same in every run, shows up barriers that are missing, and notices
where some threads of a block come to a barrier and others end, which hangs a GPU.
"""

import random
import threading

import numpy as np
from greenlet import getcurrent, greenlet
from numba.cuda.simulator import kernel
from numba.cuda.simulator.kernelapi import Dim3


def run(self, grid_point, *args):
    """Run a block; stands for `BlockManager.run`."""
    thread, hub = threading.current_thread(), getcurrent()
    thread.blockIdx = Dim3(*grid_point)
    thread.syncthreads = hub.switch
    waiting = [
        (Dim3(*point), greenlet(self._f, parent=hub)) for point in np.ndindex(*self._block_dim)
    ]
    arguments, order = args, random.Random(7)
    while waiting:
        order.shuffle(waiting)
        for place, task in waiting:
            thread.threadIdx = place
            task.switch(*arguments)
        left = [pair for pair in waiting if not pair[1].dead]
        assert len(left) in (0, len(waiting)), "threads of a block wait for others that have ended"
        waiting, arguments = left, ()


def install():
    """Let every simulated block run so."""
    kernel.BlockManager.run = run
