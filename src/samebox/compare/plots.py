"""plot: a measure's samples as an inline SVG, with a bar to the median and a dot for each sample."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from samebox.conformance.report.markup import Markup, tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH, _BAR, _ROW = 420, 22, 44


def plot(title: str, what: str, unit: str, series: Mapping[str, Sequence[float]]) -> Markup:
    """Return a figure of one measure.

    Args:
        title: The measure's name.
        what: What was measured, and whether more is better.
        unit: The unit of the values.
        series: The samples by engine; no samples: the engine could not be measured.
    """
    values = [value for samples in series.values() for value in samples]
    # The scale ends where one outlier can't make all other samples invisible.
    medians = [statistics.median(samples) for samples in series.values() if samples]
    top = min(max(values, default=1.0), 3 * max(medians, default=1.0)) or 1.0
    scale = (_WIDTH - 6) / top
    rows: list[Markup] = []
    for number, (label, samples) in enumerate(series.items()):
        at = number * _ROW
        rows.append(tag("text", label, x="0", y=str(at + 12)))
        said = number_text(statistics.median(samples)) if samples else "not measured"
        rows.append(tag("text", said, x=str(_WIDTH), y=str(at + 12), class_="value"))
        if not samples:
            continue
        median = statistics.median(samples)
        rows.append(
            tag("rect", x="0", y=str(at + 18), width=f"{max(1.0, median * scale):.1f}", height=str(_BAR - 4), rx="2",
                class_=f"c{number % 2}")
        )  # fmt: skip
        rows += [
            tag("circle", cx=f"{min(value * scale, _WIDTH - 3):.1f}", cy=str(at + 27), r="2.2", class_="dot")
            for value in samples
        ]
    height = len(series) * _ROW
    words = "; ".join(
        f"{label}: {number_text(statistics.median(s)) if s else 'not measured'}" for label, s in series.items()
    )
    return tag(
        "figure",
        tag("figcaption", f"{title}, {unit}"),
        tag("svg", *rows, viewBox=f"0 0 {_WIDTH} {height}", role="img", aria_label=f"{title}, {unit}: {words}"),
        tag("p", tag("small", what)),
        class_="plot",
    )


def number_text(value: float) -> str:
    """Return a number's text, with fewer decimals for a larger number."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
