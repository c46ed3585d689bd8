"""Many files through one request: find them, plan and name everything, then run.

The work has two halves. `prepare` checks the request on the first input and names every output, so
that collisions and what is wrong with the request are known before anything is written. `run` takes
several inputs at a time, each opened once: header, plan, pixels, output. It yields an event for
each input, in order.
"""

from convtool.batch.inputs import expand
from convtool.batch.model import (
    Done,
    Event,
    Failed,
    Job,
    LeftOut,
    Planned,
    Request,
    Skipped,
    Source,
    Target,
    Task,
    Verified,
)
from convtool.batch.prepare import Prepared, prepare
from convtool.batch.run import pretend, refuse_terminal, run
from convtool.batch.transposed import kernel_for
from convtool.batch.workers import Crew

__all__ = [
    "Crew",
    "Done",
    "Event",
    "Failed",
    "Job",
    "LeftOut",
    "Planned",
    "Prepared",
    "Request",
    "Skipped",
    "Source",
    "Target",
    "Task",
    "Verified",
    "expand",
    "kernel_for",
    "prepare",
    "pretend",
    "refuse_terminal",
    "run",
]
