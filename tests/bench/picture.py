"""docs/benchmarks.svg: what an item costs by their number, and the ratios to others; drawn from the tables of the page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from contest import Outcome
from contestants import Size
from findings import Findings
from starts import ONE

WIDTH, HEIGHT, TOP, BOTTOM = 900, 360, 60, 300
CURVES = (70, 500)
BARS = (690, 880)
DECADES_OF_ITEMS = (1, 6)
INK, FAINT = "#24292f", "#d0d7de"
COLOURS = {
    "orchestrate": "#0969da",
    "xargs": "#57606a",
    "floor": "#8c959f",
    "make": "#1a7f37",
    "ninja": "#9a6700",
    "doit": "#bf3989",
    "parallel": "#cf222e",
    "hyperqueue": "#8250df",
    "snakemake": "#bc4c00",
}

Curve = list[tuple[int, float]]


def draw(found: Findings) -> str:
    """The picture, of what was measured."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" '
        f'fill="{INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *_curves(curves(found)),
        *_bars(found),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def curves(found: Findings) -> dict[str, Curve]:
    """Of each: CPU in ms an item by number of items, 2 at once; ours beyond the contest by what its last items cost, and the
    cost of a run of one item shared among all."""
    lines: dict[str, Curve] = {}
    for size, outcome in sorted(found.contest.items(), key=lambda each: each[0].count):
        for each in outcome.standings if size.slots == 2 else ():
            lines.setdefault(each.name, []).append((size.count, each.cpu_ms.median))
    own = lines.setdefault("orchestrate", [])
    one = next((each.cpu_milliseconds for each in found.starts if each.name == ONE), 0.0)
    measured = {count for count, _ in own}
    own += [(scale.count, scale.cpu_ms_an_item + one / scale.count) for scale in found.scales if scale.count not in measured]
    return {name: sorted(line) for name, line in lines.items() if line}


def _curves(lines: dict[str, Curve]) -> Iterator[str]:
    if not lines:
        return
    costs = [cost for line in lines.values() for _, cost in line]
    low, high = math.floor(math.log10(min(costs) / 2)), math.ceil(math.log10(max(costs)))

    def x(count: float) -> float:
        first, last = DECADES_OF_ITEMS
        return CURVES[0] + (math.log10(count) - first) / (last - first) * (CURVES[1] - CURVES[0])

    def y(cost: float) -> float:
        return BOTTOM - (math.log10(cost) - low) / (high - low) * (BOTTOM - TOP)

    yield _text(CURVES[0], 30, "CPU in ms an item, by number of items (2 at once)", weight="bold")
    for power in range(DECADES_OF_ITEMS[0], DECADES_OF_ITEMS[1] + 1):
        yield _line(x(10**power), TOP, x(10**power), BOTTOM)
        yield _text(x(10**power), BOTTOM + 18, f"{10**power:,}", anchor="middle")
    for power in range(low, high + 1):
        yield _line(CURVES[0], y(10**power), CURVES[1], y(10**power))
        yield _text(CURVES[0] - 8, y(10**power) + 4, f"{10.0**power:g}", anchor="end")
    labels: dict[int, float] = {}
    for name, line in sorted(lines.items(), key=lambda each: y(each[1][-1][1])):
        points = " ".join(f"{x(count):.1f},{y(cost):.1f}" for count, cost in line)
        width = 3 if name == "orchestrate" else 1.5
        yield f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="{width}"/>'
        for count, cost in line:
            yield f'<circle cx="{x(count):.1f}" cy="{y(cost):.1f}" r="{width}" fill="{COLOURS[name]}"/>'
        # At the end of its line, below the label of a line that ends above it.
        last, cost = line[-1]
        labels[last] = max(y(cost) + 4, labels.get(last, 0.0) + 13)
        yield _text(x(last) + 8, labels[last], name, colour=COLOURS[name], weight="bold" if name == "orchestrate" else "normal")


def _bars(found: Findings) -> Iterator[str]:
    """CPU and wall to xargs, of the size with most contestants."""
    if not found.contest:
        return
    size, outcome = max(found.contest.items(), key=_wealth)
    shown = [each for each in outcome.standings if each.cpu_ratio and each.wall_ratio]
    if not shown:
        return
    largest = max(max(each.cpu_ratio.median, each.wall_ratio.median) for each in shown if each.cpu_ratio and each.wall_ratio)
    a_unit = (BARS[1] - BARS[0] - 35) / largest
    yield _text(BARS[0] - 75, 30, "Ratio to xargs: CPU, and wall (paler)", weight="bold")
    yield _text(BARS[0] - 75, 46, f"{size.count:,} jobs, {size.slots} at once")
    step = (BOTTOM - TOP) / len(shown)
    for number, each in enumerate(shown):
        at = TOP + number * step
        yield _text(BARS[0] - 8, at + step / 2 + 4, each.name, anchor="end")
        for place, (ratio, opacity) in enumerate(((each.cpu_ratio, 1.0), (each.wall_ratio, 0.45))):
            if ratio is not None:
                height = step * 0.36
                y = at + step * 0.12 + place * height
                yield (
                    f'<rect x="{BARS[0]}" y="{y:.1f}" width="{a_unit * ratio.median:.1f}" height="{height:.1f}" '
                    f'fill="{COLOURS[each.name]}" fill-opacity="{opacity}"/>'
                )
                yield _text(BARS[0] + a_unit * ratio.median + 4, y + height - 1, f"{ratio.median:.2f}", size=10)


def _wealth(entry: tuple[Size, Outcome]) -> tuple[int, int]:
    size, outcome = entry
    return len(outcome.standings) if size.count >= 1_000 else 0, size.count


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", colour: str = INK, weight: str = "normal", size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}" font-size="{size}">'
        f"{escape(words)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{FAINT}"/>'
