"""Metrics of jobs into a run of your own experiment tracker: Weights & Biases, or anything with `log(dict, step=)`.

    with wandb.init(project="rft") as run:       # your account, your process
        log = track(run)
        for n in range(rounds):
            llm.reinforcement_step(...).wait(on_metrics=log)

The server sends nothing to such services; what leaves, leaves from your process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol


class Run(Protocol):
    """What `track` needs of a tracker."""

    def log(self, data: dict[str, Any], /, *, step: int) -> Any: ...


class Track:
    """Callable with the metrics of one optimiser batch. One of them serves many jobs: steps go on counting, as trackers want it."""

    def __init__(self, run: Run, prefix: str = "", step: int = 0):
        self.run, self.prefix, self.step = run, prefix, step

    def __repr__(self) -> str:
        return f"Track({self.prefix!r}, step {self.step})"

    def __call__(self, metrics: Mapping[str, Any]) -> None:
        self.step += 1
        self.run.log({self.prefix + name: value for name, value in _numbers(metrics)}, step=self.step)


def track(run: Run, *, prefix: str = "", step: int = 0) -> Track:
    """A function for `wait(on_metrics=...)` that logs every finite number of docs/metrics.md into `run`.

    Names are those of the metrics with `prefix` before them, such as "train/"; what is nested is joined by "/".
    Steps are counted on from `step`, one for each optimiser batch, over all jobs that it is given.
    """
    return Track(run, prefix, step)


def _numbers(metrics: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield before + name, value
