"""One run of a load with all processes, as `tools/headrace run` does it."""

import statistics
import tempfile
import time
from pathlib import Path

from headrace_cli import errors, workspace
from headrace_cli.csv_tail import Row
from headrace_cli.session import Request, Session

from loads import Load, optimizer_steps, samples_per_update
from outcome import Failed, Outcome

POLL_SECONDS = 0.05
_LAG = "charts/policy_lag_updates"


def run(load: Load) -> Outcome:
    """Failed: it did not end well, or did nothing. CommandError: it cannot be started."""
    config = load.resolved()
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        request = Request(workspace.ROOT / load.configuration, load.overrides, Path(directory) / "run")
        session = Session(request, said.append)
        try:
            session.prepare()
            session.start()
            while not session.ended:
                session.poll()
                time.sleep(POLL_SECONDS)
        finally:
            session.close()
        if session.outcome.exit_code != errors.DONE:
            raise Failed("\n".join([session.outcome.message, *said]))
        progress, evaluation = session.directory.progress_rows(), session.directory.last_evaluation()
    assert evaluation is not None, "the final policy is always evaluated"
    if evaluation["updates"] == 0:
        raise Failed(f"{load.steps} steps were over before the first update")
    verdict = session.final_status.verdict_since_start
    begin = _begin(progress)
    uses = optimizer_steps(config, evaluation["updates"]) * samples_per_update(config) / evaluation["env_steps"]
    lags = [row[_LAG] for row in progress if row.get(_LAG, float("nan")) >= 0]
    return Outcome(
        steps=evaluation["env_steps"] - begin["env_steps"],
        seconds=evaluation["wall_seconds"] - begin["wall_seconds"],
        score=evaluation["mean_return"],
        uses=uses,
        lag=statistics.fmean(lags) if lags else None,
        shares=verdict.shares if verdict else {},
    )


def _begin(progress: list[Row]) -> Row:
    """The last row before the first update: until then processes start, and replay fills as far as it must."""
    before = [row for row in progress if row["updates"] == 0]
    return before[-1] if before else {"env_steps": 0.0, "wall_seconds": 0.0}
