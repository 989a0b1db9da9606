"""A job carried out in front of the user: progress while it runs, the summary at its end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lineside.cli.closing import print_summary
from lineside.cli.live import show_progress, tell

if TYPE_CHECKING:
    from lineside.pipelines.session import Job

__all__ = ["carry_out"]


def carry_out(job: Job, as_json: bool) -> int:
    """Runs a job to its end, and keeps its page up until Ctrl-C where it has one.

    Args:
        job: What is to be run.
        as_json: Print the summary as JSON instead of tables.

    Returns:
        Exit code: 0 where everything was inspected and saved, else 1.

    Raises:
        LinesideError: See `lineside.pipelines.session.Session.run`.
    """
    from lineside.pipelines.session import Session

    with Session(job, tell) as session:
        with show_progress("inspecting") as show:
            summary = session.run(show)
        if as_json:
            print(json.dumps(summary.to_dict()), flush=True)
        else:
            print_summary(summary)
        session.linger()
    return 0 if summary.complete else 1
