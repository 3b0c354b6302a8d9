"""One self-contained HTML page: charts, tables and a browser of rollouts by group, readable offline.

Completions are hostile text. They reach the page only through Jinja2's autoescape or as JSON in which "<" is
escaped, the page's script shows them with `textContent` alone, and a content security policy allows no script
but the page's own two and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError
from advshape.evaluation.curves import PairedDifference, pass_bounds
from advshape.report import charts
from advshape.report.data import EvaluationData, ReportData, read_run

__all__ = ["render", "write_report"]

TEXT_BUDGET = 8_000_000
"""Characters of completions, reasons and prompts that one page may hold; more makes browsers slow."""
CITATION = """@article{thrampoulidis2025advantage,
  title   = {Advantage Shaping as Surrogate Reward Maximization: Unifying Pass@K Policy Gradients},
  author  = {Thrampoulidis, Christos and Mahdavi, Sadegh and Deng, Wenlong},
  journal = {arXiv preprint arXiv:2510.23049},
  year    = {2025}
}"""


def write_report(run_dir: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write the page of a run directory (finished or not) and return its path.

    Args:
        run_dir: as `advshape train` or `advshape evaluate` leaves it.
        out: the file to write; None: `report.html` in the run directory. An existing file is replaced.

    Raises:
        AdvshapeError: no run directory, or a broken file in it, with file and line.
    """
    data = read_run(run_dir)
    path = Path(out) if out is not None else Path(run_dir) / "report.html"
    part = path.with_name(path.name + ".part")
    part.write_text(render(data), encoding="utf-8")
    part.replace(path)
    return path


def render(data: ReportData) -> str:
    """The page as text."""
    try:
        import jinja2
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise AdvshapeError(f"the report needs {error.name}; install it with: pip install 'advshape[trl]'") from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shown = page_charts(data)
    rollouts, notes = browser(data)
    payload = to_script_json({"charts": shown, **rollouts})
    scripts = [get_plotlyjs(), asset("page.js")]
    return environment.from_string(asset("page.html")).render(
        data=data,
        notes=[*data.notes, *notes],
        charts=[chart for chart in shown if not chart["name"].startswith("training")],
        training_charts=[chart for chart in shown if chart["name"].startswith("training")],
        results=results(data),
        headline=headline(data),
        facts=facts(data),
        headers=[evaluation_facts(item) for item in data.evaluations],
        solved=solved_tables(data),
        versions=data.summary.get("versions") or {"advshape": version("advshape"), "python": platform.python_version()},
        has_rollouts=bool(rollouts["sources"]),
        citation=CITATION,
        css=Markup(asset("page.css")),
        payload=Markup(payload),
        scripts=[Markup(script) for script in scripts],
        script_hashes=" ".join(f"'sha256-{sha256(script)}'" for script in scripts),
    )


def page_charts(data: ReportData) -> list[charts.Chart]:
    """The charts that the data has something for."""
    items = data.evaluations
    found = [charts.curves_chart(items), charts.histogram_chart(items)] if items else []
    if data.differences:
        by_label = {item.label: item for item in items}
        found += [charts.change_chart(by_label[a], by_label[b]) for a, b, _ in data.differences[:1]]
    if len({float(item.settings["temperature"]) for item in items}) > 1:
        most = min(int(item.curve.ks[-1]) for item in items)
        found.append(charts.frontier_chart(items, (1, most)))
    return found + charts.training_charts(data.metrics)


def results(data: ReportData) -> dict[str, Any]:
    """The table of pass@k: a row for each evaluation and for each difference, a column for each k."""
    ks = sorted({int(k) for item in data.evaluations for k in item.curve.ks})
    rows = []
    for item in data.evaluations:
        curve = item.curve
        cells = {
            int(k): (f"{v:.3f}", f"[{low:.3f}, {high:.3f}]", "")
            for k, v, low, high in zip(curve.ks, curve.values, curve.low, curve.high, strict=True)
        }
        rows.append((item.label, [cells.get(k) for k in ks]))
    for first, second, change in data.differences:
        cells = {
            int(k): (f"{d:+.3f}", f"[{low:+.3f}, {high:+.3f}]", "up" if low > 0 else "down" if high < 0 else "")
            for k, d, low, high in zip(change.ks, change.difference, change.low, change.high, strict=True)
        }
        rows.append((f"{second} − {first}", [cells.get(k) for k in ks]))
    return {"ks": ks, "rows": rows}


def headline(data: ReportData) -> list[str]:
    """One sentence for each difference, or one for a single evaluation, computed from the numbers."""
    if data.differences:
        return [difference_sentence(*difference) for difference in data.differences]
    return [
        f"{item.label}: pass@{item.curve.ks[0]} is {item.curve.values[0]:.3f}, pass@{item.curve.ks[-1]} is"
        f" {item.curve.values[-1]:.3f}, over {item.curve.prompts} prompts."
        for item in data.evaluations
    ]


def difference_sentence(first: str, second: str, change: PairedDifference) -> str:
    """Which k rose, which fell, and which cannot be told from no change."""
    groups: dict[str, list[str]] = {"higher": [], "lower": [], "same": []}
    for k, low, high in zip(change.ks, change.low, change.high, strict=True):
        groups["higher" if low > 0 else "lower" if high < 0 else "same"].append(str(k))
    words = [f"{kind} at k = {', '.join(ks)}" for kind, ks in groups.items() if ks and kind != "same"]
    if groups["same"]:
        words.append(f"not to be told from no change at k = {', '.join(groups['same'])}")
    return (
        f"{second} against {first}: pass@k is {'; '.join(words)}"
        f" ({change.confidence:.0%} intervals, paired over {change.prompts} prompts)."
    )


def facts(data: ReportData) -> list[tuple[str, str]]:
    """The run in a few pairs of name and value."""
    summary = data.summary
    training = summary.get("training", {})
    pairs = [
        ("Status", summary.get("status")),
        ("Objective", summary.get("objective")),
        ("Training seed", summary.get("seed")),
        ("Steps", training.get("steps")),
        ("Training time", f"{training['seconds']:.0f} s" if "seconds" in training else None),
        ("Command", summary.get("command")),
    ]
    return [(name, str(value)) for name, value in pairs if value is not None]


def evaluation_facts(item: EvaluationData) -> dict[str, Any]:
    """Header of one evaluation: settings, outcomes, and bounds where something was not judged."""
    totals = item.counts.totals()
    bounds = []
    if totals["not_judged"]:
        ks, lowest, highest = pass_bounds(item.counts)
        bounds = [f"pass@{k} [{a:.3f}, {b:.3f}]" for k, a, b in zip(ks, lowest, highest, strict=True)]
    return {
        "label": item.label,
        "totals": totals,
        "prompts": item.counts.prompts,
        "n": item.curve.n,
        "unjudged": item.curve.unjudged,
        "method": f"{item.curve.confidence:.0%} intervals: {item.curve.method}",
        "settings": {str(k): str(v) for k, v in item.settings.items() if v not in ("", None)},
        "bounds": bounds,
        "file": item.path.name if item.path is not None else "",
    }


def solved_tables(data: ReportData) -> list[dict[str, Any]]:
    """The 2 x 2 of prompts that were solved at least once, for each difference."""
    by_label = {item.label: item.counts for item in data.evaluations}
    tables = []
    for first, second, _ in data.differences:
        a, b = by_label[first], by_label[second]
        place = {problem: i for i, problem in enumerate(b.problems)}
        later = b.select([place[problem] for problem in a.problems])
        pairs = list(zip((a.correct > 0).tolist(), (later.correct > 0).tolist(), strict=True))
        cells = {f"{x:d}{y:d}": pairs.count((bool(x), bool(y))) for x in (0, 1) for y in (0, 1)}
        tables.append({"first": first, "second": second, "n": (a.n, b.n), "cells": cells})
    return tables


def browser(data: ReportData) -> tuple[dict[str, Any], list[str]]:
    """What the browser of rollouts shows, within the text budget, and notes on what it had to leave out."""
    notes: list[str] = []
    reasons: dict[str, int] = {}
    sources = []
    budget = TEXT_BUDGET // (1 + bool(data.training))
    if data.evaluations:
        sources.append(_evaluation_source(data.evaluations, budget, reasons, notes))
    if data.training:
        sources.append(_training_source(data.training, budget, reasons, notes))
    return {"sources": sources, "reasons": list(reasons)}, notes


def _evaluation_source(
    items: Sequence[EvaluationData], budget: int, reasons: dict[str, int], notes: list[str]
) -> dict[str, Any]:
    """Groups are prompts; each has its counts in every evaluation and its rollouts, the first by sample index."""
    every = [rollout for item in items for group in item.rollouts.values() for rollout in group]
    size = sum(len(r.completion) + 12 for r in every)
    most = max(len(group) for item in items for group in item.rollouts.values())
    shown = most if size <= budget else max(1, int(most * budget / size))
    if shown < most:
        notes.append(
            f"The browser holds the first {shown} of {most} rollouts of each prompt, to keep the page small;"
            " all counts are over all rollouts."
        )
    problems = list(dict.fromkeys(problem for item in items for problem in item.counts.problems))
    rows = [{problem: i for i, problem in enumerate(item.counts.problems)} for item in items]
    groups = []
    for problem in problems:
        counts = [
            None
            if problem not in row
            else [int(item.counts.correct[row[problem]]), int(item.counts.judged[row[problem]])]
            for item, row in zip(items, rows, strict=True)
        ]
        texts = [
            [
                [r.completion, r.outcome, reasons.setdefault(r.reason, len(reasons)), None, r.tokens, r.truncated]
                for r in item.rollouts.get(problem, ())[:shown]
            ]
            for item in items
        ]
        prompt = next(item.rollouts[problem][0].prompt for item in items if problem in item.rollouts)
        groups.append({"id": problem, "prompt": prompt_text(prompt), "counts": counts, "rollouts": texts})
    return {"name": "evaluation", "labels": [item.label for item in items], "groups": groups}


def _training_source(
    records: Sequence[Mapping[str, Any]], budget: int, reasons: dict[str, int], notes: list[str]
) -> dict[str, Any]:
    """Groups are one prompt at one step; whole steps, evenly spaced, are left out when the text is too long."""
    steps = sorted({int(record["step"]) for record in records})
    size = sum(len(record["completion"]) + 24 for record in records)
    keep = set(steps)
    if size > budget:
        wanted = max(1, int(len(steps) * budget / size))
        keep = {steps[round(i * (len(steps) - 1) / max(1, wanted - 1))] for i in range(wanted)}
        notes.append(
            f"The browser holds the training rollouts of {len(keep)} of {len(steps)} steps, evenly spaced, to"
            " keep the page small; all are in rollouts.jsonl."
        )
    groups: dict[tuple[int, str], list[list[Any]]] = {}
    for record in records:
        if int(record["step"]) in keep:
            reason = reasons.setdefault(str(record.get("reason", "")), len(reasons))
            row = [record["completion"], record.get("verdict"), reason, record.get("advantage"), None, False]
            groups.setdefault((int(record["step"]), str(record["problem"])), []).append(row)
    listed = [
        {
            "id": f"step {step} · {problem}",
            "prompt": problem,
            "counts": [[sum(row[1] == "right" for row in rows), sum(row[1] != "not_judged" for row in rows)]],
            "rollouts": [rows],
        }
        for (step, problem), rows in groups.items()
    ]
    return {"name": "training", "labels": ["training"], "groups": listed}


def prompt_text(prompt: str | Sequence[Mapping[str, str]]) -> str:
    """A prompt as one text; chat messages with their roles.

    >>> prompt_text([{"role": "user", "content": "2+2?"}])
    'user: 2+2?'
    """
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message.get('role', '')}: {message.get('content', '')}" for message in prompt)


def to_script_json(value: Any) -> str:
    """JSON that is safe inside a script element: no "<", ">" or "&", no line separators; NaN becomes null.

    >>> to_script_json({"a": "</script>", "b": float("nan")})
    '{"a":"\\\\u003c/script\\\\u003e","b":null}'
    """
    text = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not (abs(value) < float("inf")):
        return None
    return value


def asset(name: str) -> str:
    """A text file of this package."""
    return resources.files("advshape.report").joinpath(name).read_text(encoding="utf-8")


def sha256(text: str) -> str:
    """Base64 SHA-256, as content security policies write it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
