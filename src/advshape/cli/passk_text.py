"""What ``advshape passk`` prints: header, curves, MODELs, other tools' figures, what was left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advshape.evaluation.readers import CountedLog
    from advshape.evaluation.results.log_results import LogResult

__all__ = ["labels", "report"]


def report(results: Sequence[LogResult]) -> str:
    """Everything as text: for one log a line for each k, for several a table with a row for each."""
    parts = [_header(result) for result in results]
    if len(results) == 1:
        parts.insert(1, _one(results[0]))
        return "\n".join([parts[0], "", *parts[1:], *_tail(results[0])])
    return "\n\n".join(
        ["\n".join([part, *_tail(r)]) for part, r in zip(parts, results, strict=True)] + [_several(results)]
    )


def _header(result: LogResult) -> str:
    log, counts = result.log, result.log.counts
    totals = counts.totals()
    title = ", ".join([log.title, *(f"{name} {value}" for name, value in log.settings.items())])
    cut = f"{totals['truncated']:,} truncated" if log.knows_truncated else "truncated: not in this log"
    if {"max", "min"} >= set(result.curves):
        judged = f"{int(counts.judged.sum()):,} judged, {totals['not_judged']:,} not judged, {cut}"
        return f"{log.source}: {title}\n{_size(log)}: {judged}\nreward: {log.right}"
    return (
        f"{log.source}: {title}\n{_size(log)}: {totals['right']:,} right, {totals['wrong']:,} wrong,"
        f" {totals['not_judged']:,} not judged, {cut}\nright: {log.right}"
    )


def _size(log: CountedLog) -> str:
    """The numbers of prompts and rollouts; where they differ, how many prompts have how many."""
    sizes = Counter(log.counts.judged.tolist())
    prompts = f"{log.counts.prompts:,} prompt{'s' if log.counts.prompts != 1 else ''}"
    if len(sizes) == 1:
        (n,) = sizes
        return f"{prompts}, n = {n:,} judged rollout{'s' if n != 1 else ''} each"
    parts = [f"{n:,} ({count:,} prompt{'s' if count != 1 else ''})" for n, count in sorted(sizes.items(), reverse=True)]
    shown = parts if len(parts) <= 6 else [*parts[:3], "...", *parts[-2:]]
    return f"{prompts}, judged rollouts differ: n = {', '.join(shown)}"


def _one(result: LogResult) -> str:
    """A line for each k, a column for each measure and for the figures of other tools."""
    curve, bounds = result.curve, result.bounds
    best = {k: value for f in result.foreign if f.ks for k, value in zip(f.ks, f.values, strict=True)}
    head = ["k"]
    for name in result.curves:
        head += [_symbol(name), f"{100 * curve.confidence:g} % interval"]
        head += ["not judged: wrong, right"] if name == "pass" and bounds is not None else []
    rows = [[*head, *(f.name for f in result.foreign if f.ks)]]
    for i, k in enumerate(curve.ks.tolist()):
        row = [f"{k}"]
        for name, one in result.curves.items():
            row += [_value(one.values[i]), _interval(one.low[i], one.high[i])]
            if name == "pass" and bounds is not None:
                row.append(f"{_value(bounds[0][i])}, {_value(bounds[1][i])}")
        if best:
            row.append(_value(best[k]) if k in best else "")
        rows.append(row)
    return _columns(rows)


def _several(results: Sequence[LogResult]) -> str:
    """A row for each log, a block for each measure."""
    ks = sorted({k for result in results for k in result.curve.ks.tolist()})
    blocks = []
    for name in results[0].curves:
        rows = [["log", "prompts", "n", *(_symbol(name).replace("k", str(k)) for k in ks)]]
        for label, result in zip(labels(results), results, strict=True):
            curve = result.curves[name]
            place = {k: i for i, k in enumerate(curve.ks.tolist())}
            cells = [_cell(curve, place[k]) if k in place else "n < k" for k in ks]
            rows.append([label, f"{curve.prompts:,}", f"{curve.n:,}", *cells])
        blocks.append(_columns(rows))
    return "\n\n".join(blocks)


def _models(result: LogResult) -> list[str]:
    """pass@k as the MODELs have it, beside what was measured."""
    if not result.models:
        return []
    first = result.models[0]
    head = ["k", "measured"]
    for model in result.models:
        head += [model.label, f"{100 * model.confidence:g} % interval"]
    within = result.within
    measured = {} if within is None else dict(zip(within.ks.tolist(), within.values.tolist(), strict=True))
    rows = [head]
    for i, k in enumerate(first.ks.tolist()):
        row = [f"{k}", _value(measured[k]) if k in measured else "-"]
        for model in result.models:
            row += [_value(model.values[i]), _interval(model.low[i], model.high[i])]
        rows.append(row)
    fits = "; ".join(f"{model.model} p = {model.fit:.3f}" for model in result.models)
    never = ", ".join(f"{model.rates.never:.3f}" for model in result.models if model.rates.never)
    return [
        "",
        f"MODEL, not measured: pass@k beyond n = {first.n}; an interval holds only if its model does",
        _columns(rows),
        f"goodness of fit to the counts (small: the model is wrong already there): {fits}",
        f"share of prompts that are never solved, as the zero-inflated one has it: {never}; the other one has none",
    ]


def labels(results: Sequence[LogResult]) -> list[str]:
    """The file, and the settings in which the results differ."""
    names = [Path(result.log.source).name for result in results]
    if len(set(names)) == len(names):
        return names
    settings = [result.log.settings for result in results]
    differing = [n for n in sorted(set().union(*settings)) if len({one.get(n) for one in settings}) > 1]
    sources = {result.log.source for result in results}
    plain = len(set(names)) == len(sources)
    return [
        " ".join(
            [name if plain else r.log.source, *(f"{n}={r.log.settings[n]}" for n in differing if n in r.log.settings)]
        )
        for name, r in zip(names, results, strict=True)
    ]


def _tail(result: LogResult) -> list[str]:
    """Other tools' figures, what was left out, and notes."""
    from advshape.evaluation.results.measures import MEASURES

    log, curve = result.log, result.curve
    lines = []
    for figure in result.foreign:
        if figure.ks:
            lines.append(f"{figure.name}: {figure.why}")
        else:
            lines.append(f"{figure.name}: {_value(figure.values[0])} ({figure.why})")
    if curve.unjudged:
        lines.append(
            f"left out of the mean: {curve.unjudged:,} prompt{'s' * (curve.unjudged > 1)} without a judged rollout"
        )
    lines += [f"skipped: {count:,} x {what} ({first})" for what, (count, first) in log.skipped.items()]
    lines += [f"{_symbol(name)}: {MEASURES[name][1]}" for name in result.curves if name != "pass"]
    if "maj" in result.curves:
        lines.append("answers are the same where their texts are; no answer (null, empty) is an answer, too")
    lines += [f"note: {note}" for note in result.notes]
    methods: dict[str, list[str]] = {}
    for name, one in result.curves.items():
        methods.setdefault(one.method, []).append(_symbol(name))
    several = len(methods) > 1
    lines += [f"interval{' of ' + ', '.join(names) if several else ''}: {how}" for how, names in methods.items()]
    return [*_models(result), "", *lines]


def _symbol(measure: str) -> str:
    from advshape.evaluation.results.measures import MEASURES

    return MEASURES[measure][0]


def _cell(curve: Any, i: int) -> str:
    return f"{_value(curve.values[i])} {_interval(curve.low[i], curve.high[i])}".rstrip()


def _value(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _interval(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
