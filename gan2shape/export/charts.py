"""Small line charts as SVG text, so that the report needs no plotting library and no script."""

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 420, 190  # viewBox units
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 26  # margins
COLOURS = ("#2f6f8f", "#c2703d", "#5b8c5a", "#8a5a9e", "#a8893a", "#7a7f87")
MAX_POINTS = 240  # a curve is thinned to about this many
LOG_SPAN = 8.0  # largest / smallest value from which the axis is logarithmic


def curves(losses: Sequence[dict]) -> list[tuple[str, dict[str, list[tuple[float, float]]]]]:
    """Rows {"stage", "step", name: value} as (stage, {name: [(step, value)]}), in order of appearance.

    Values that are not finite are left out.
    """
    stages: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in losses:
        lines = stages.setdefault(str(row.get("stage", "")), {})
        for name, value in row.items():
            if name in ("stage", "step") or isinstance(value, str | bool) or value is None:
                continue
            if math.isfinite(value):
                lines.setdefault(name, []).append((float(row.get("step", 0)), float(value)))
    return [(stage, {name: _thinned(points) for name, points in lines.items()}) for stage, lines in stages.items()]


def line_chart(lines: dict[str, list[tuple[float, float]]], title: str) -> str:
    """One chart with a legend. The value axis is logarithmic where positive values span a wide range."""
    values = [value for points in lines.values() for _, value in points]
    if not values:
        return ""
    log = min(values) > 0 and max(values) / min(values) >= LOG_SPAN
    scale = math.log10 if log else float
    low, high = scale(min(values)), scale(max(values))
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    steps = [step for points in lines.values() for step, _ in points]
    first, last = min(steps), max(max(steps), min(steps) + 1)

    def x(step: float) -> float:
        return LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - scale(value)) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in _ticks(low, high):
        value = 10**tick if log else tick
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 3.5:.1f}" text-anchor="end">{value:.3g}</text>')
    for step, anchor in ((first, "start"), (last, "end")):
        parts.append(f'<text x="{x(step):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{step:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">step</text>')
    for index, points in enumerate(lines.values()):
        path = "L".join(f"{x(step):.1f} {y(value):.1f}" for step, value in points)
        parts.append(f'<path class="line" stroke="{COLOURS[index % len(COLOURS)]}" d="M{path}"/>')
    legend = "".join(
        f'<span><i style="background:{COLOURS[index % len(COLOURS)]}"></i>{escape(name)} {points[-1][1]:.3g}</span>'
        for index, (name, points) in enumerate(lines.items())
    )
    return "".join(parts) + f'</svg><div class="legend">{legend}</div>'


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round positions in [low, high]."""
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    start = math.ceil(low / step - 1e-9)
    return [index * step for index in range(start, math.floor(high / step + 1e-9) + 1)]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Every n-th point, and the last one."""
    every = max(1, len(points) // MAX_POINTS)
    kept = points[::every]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]
