"""Numbers and names as tables print them."""

from __future__ import annotations

NONE = "—"
"""What stands where there is no number."""
MINUS = "\N{MINUS SIGN}"


def number(value: float | None, scale: float = 1.0, digits: int = 1) -> str:
    """A number as text, a dash where there is none."""
    return NONE if value is None else f"{value * scale:,.{digits}f}"


def percent(value: float | None) -> str:
    """A share of parameters: two decimals, or as many as show two digits of a small one."""
    if value is None:
        return NONE
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def signed(value: float) -> str:
    """A difference, with its sign."""
    text = f"{abs(value):,.1f}"
    return ("" if float(text.replace(",", "")) == 0 else "+" if value > 0 else MINUS) + text


def deviation(std: float | None) -> str:
    """What stands behind a mean; a single value has no deviation."""
    return "" if std is None else f" ±{std:.1f}"


def short_metric(metric: str, task: str) -> str:
    """`accuracy` for `vqav2.accuracy`; nothing where the metric is not known."""
    return "" if metric == task else metric.removeprefix(f"{task}.")
