"""The line that says how far a run of rollouts is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from .plot import in_notebook

_WIDTH = 24


class Line:
    """One line on stderr, drawn over itself on a terminal and in a notebook; elsewhere only the last is printed."""

    def __init__(self, already: int):
        self._live = sys.stderr.isatty() or in_notebook()
        self._began, self._already = time.monotonic(), already

    def __call__(self, done: int, total: int, mean: float | None) -> None:
        if not self._live and done != total:
            return
        filled = _WIDTH * done // total
        said = "" if mean is None else f"  reward {mean:.3f}"
        new, seconds = done - self._already, time.monotonic() - self._began
        left = f"  {seconds / new * (total - done):.0f} s left" if new > 0 and done < total else f"  {seconds:.0f} s"
        end = "\n" if done == total else ""
        print(f"\rrollouts [{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{total}{said}{left}  ", end=end, file=sys.stderr, flush=True)


def shown(progress: bool | Callable[[int, int], None], already: int) -> Callable[[int, int, float | None], None]:
    """What to call after each group: the line, the user's function of (done, total), or nothing."""
    if progress is True:
        return Line(already)
    if progress is False:
        return lambda done, total, mean: None
    return lambda done, total, mean: progress(done, total)
