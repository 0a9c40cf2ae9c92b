"""Pictures of a comparison, as PNG."""

from collections.abc import Sequence
from pathlib import Path

from comparison import SERVERS, Comparison
from matplotlib.axes import Axes
from matplotlib.figure import Figure

GOAL = 0.97
LATENCIES = {"ttft_ms": "first token", "itl_ms": "between tokens", "e2e_ms": "whole answer"}
COLOURS = dict(zip(SERVERS, ("tab:gray", "tab:blue"), strict=True))


def draw(found: Sequence[Comparison], folder: Path) -> None:
    """``ratio.png`` and ``latency.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(1.5 + 1.3 * len(found), 4), layout="constrained")
    draw_ratios(figure.subplots(), found)
    figure.savefig(folder / "ratio.png", dpi=150)
    figure = Figure(figsize=(13, 4), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(LATENCIES)), LATENCIES.items(), strict=True):
        draw_latency(axes, found, name)
        axes.set_title(title)
    figure.savefig(folder / "latency.png", dpi=150)


def draw_ratios(axes: Axes, found: Sequence[Comparison]) -> None:
    """A dot for each start; the median of all pairs with its interval."""
    for place, each in enumerate(found):
        axes.plot([place] * len(each.by_start), each.by_start, "o", color="tab:gray", alpha=0.5)
        below, above = each.interval
        error = [[max(0.0, each.ratio - below)], [max(0.0, above - each.ratio)]]
        axes.errorbar(place, each.ratio, yerr=error, fmt="s", color="tab:blue", capsize=6)
    axes.axhline(1, color="black", linewidth=0.8)
    if any(each.of == "tokens/s" for each in found):
        axes.axhline(GOAL, color="tab:red", linewidth=0.8, linestyle="--", label=f"{GOAL} of the throughput")
        axes.legend()
    axes.set_xticks(range(len(found)), [f"{each.run}\n{each.of}" for each in found])
    axes.set_xlim(-0.5, len(found) - 0.5)
    axes.set_ylabel("ours / bare")


def draw_latency(axes: Axes, found: Sequence[Comparison], name: str) -> None:
    """A bar up to the median for each server, a line from there to the 99th percentile."""
    for shift, server in zip((-0.2, 0.2), SERVERS, strict=True):
        percentiles = [getattr(each, name)[server] for each in found]
        middle = [each.p50 for each in percentiles]
        tail = [[0.0] * len(middle), [each.p99 - each.p50 for each in percentiles]]
        places = [place + shift for place in range(len(found))]
        axes.bar(places, middle, 0.4, yerr=tail, capsize=3, color=COLOURS[server], label=server)
    axes.set_xticks(range(len(found)), [each.run for each in found], rotation=20)
    axes.set_ylabel("ms, p50 to p99")
    axes.legend()
