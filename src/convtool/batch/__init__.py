"""Many files through one request: find them, plan and name everything, then run.

The work has two halves. `prepare` reads headers only and settles every size and every output
path, so that whatever is wrong with the request is known before anything is written. `run`
takes the prepared jobs one after the other and yields an event for each input, in order.
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
    Verified,
)
from convtool.batch.prepare import prepare
from convtool.batch.run import pretend, refuse_terminal, run

__all__ = [
    "Done",
    "Event",
    "Failed",
    "Job",
    "LeftOut",
    "Planned",
    "Request",
    "Skipped",
    "Source",
    "Target",
    "Verified",
    "expand",
    "prepare",
    "pretend",
    "refuse_terminal",
    "run",
]
