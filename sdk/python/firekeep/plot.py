"""Curves for notebooks: plain SVG, without any library, that grows where it is shown.

    curve = Curve("reward").show()
    for n in range(rounds):
        ...
        curve.add(n, mean_reward)
"""

from __future__ import annotations

import html
import importlib
import math
import sys
from pathlib import Path
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 560, 240, 56, 28, 16, 34


class Curve:
    """Points (x, y) with a name. In a notebook it shows itself; `show()` makes it live there."""

    def __init__(self, label: str, *, title: str = "", x: str = "round"):
        self.label, self.title, self.x = label, title, x
        self.points: list[tuple[float, float]] = []
        self._display: Any = None

    def __repr__(self) -> str:
        last = f", last {self.points[-1][1]:.4g}" if self.points else ""
        return f"Curve({self.label!r}, {len(self.points)} points{last})"

    def add(self, x: float, y: float) -> Curve:
        """Add a point; a curve that is shown is drawn again."""
        if not math.isfinite(y):
            raise ValueError(f"{self.label}: {y!r} at {self.x} {x} is not a finite number")
        self.points.append((float(x), float(y)))
        if self._display is not None:
            self._display.update(self)
        return self

    def show(self) -> Curve:
        """Show it in the running notebook cell and keep it up to date; does nothing elsewhere."""
        if in_notebook():
            self._display = importlib.import_module("IPython.display").display(self, display_id=True)
        return self

    def svg(self) -> str:
        """The picture, complete in itself."""
        return _svg(self)

    def save(self, path: str | Path) -> None:
        """Write the picture as an .svg file."""
        Path(path).write_text(self.svg(), encoding="utf-8")

    def figure(self) -> Any:
        """A matplotlib figure of the curve, for those who have it and want more than SVG."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 3.2))
        axes = figure.subplots()
        axes.plot([p[0] for p in self.points], [p[1] for p in self.points], marker="o")
        axes.set(xlabel=self.x, ylabel=self.label, title=self.title)
        return figure

    def _repr_html_(self) -> str:
        return self.svg()


def in_notebook() -> bool:
    """Whether this code runs in the kernel of a notebook."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _svg(c: Curve) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" font-size="11">'
    title = html.escape(f"{c.title}: {c.label}" if c.title else c.label)
    parts = [head, f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>', f'<text x="{_LEFT}" y="17" fill="#333333">{title}</text>']
    if not c.points:
        return "".join([*parts, f'<text x="{_WIDTH // 2}" y="{_HEIGHT // 2}" text-anchor="middle" fill="#888888">no points yet</text></svg>'])
    x0, x1 = _span([p[0] for p in c.points])
    y0, y1 = _span([p[1] for p in c.points])

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    for i in range(5):
        value = y0 + (y1 - y0) * i / 4
        _, y = place(x0, value)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#555555">{value:.3g}</text>')
    for value, anchor in ((c.points[0][0], "start"), (c.points[-1][0], "end")):
        parts.append(f'<text x="{place(value, y0)[0]:.1f}" y="{_HEIGHT - 16}" text-anchor="{anchor}" fill="#555555">{value:g}</text>')
    parts.append(f'<text x="{_WIDTH // 2}" y="{_HEIGHT - 6}" text-anchor="middle" fill="#555555">{html.escape(c.x)}</text>')
    spots = [place(x, y) for x, y in c.points]
    parts.append(f'<polyline fill="none" stroke="#c8401a" stroke-width="2" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in spots)}"/>')
    if len(spots) <= 60:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#c8401a"/>' for x, y in spots]
    return "".join([*parts, "</svg>"])


def _span(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin
