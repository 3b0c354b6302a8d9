"""``advshape evaluate``: sample once, report every k; several temperatures, models here or behind a server."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advshape.evaluation.sampling.evaluate import Evaluation

__all__ = ["add", "text"]

FIGURES = (".png", ".svg", ".pdf")
DONE, FAILED, STOPPED = 0, 1, 130


def add(commands: Any) -> None:
    """The subcommand."""
    sub = commands.add_parser(
        "evaluate",
        help="pass@k of a model on held-out problems",
        description="Sample n rollouts of each held-out problem once and report pass@k for every power of two up to "
        "n. The rollouts go to a log as they come: the same command goes on where a killed one stopped.",
        allow_abbrev=False,
    )
    sub.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a saved model's directory, a shipped model's name, or a hub name; left out with --server",
    )
    sub.add_argument(
        "--task",
        required=True,
        metavar="TASK",
        help="countdown, maths, code, human_eval, reasoning_gym:NAME or module:function",
    )
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="parameters",
        help="a parameter of the task; repeatable",
    )
    sub.add_argument("-n", type=int, default=64, help="rollouts per problem (default 64)")
    sub.add_argument("--count", type=int, default=256, help="held-out problems (default 256)")
    sub.add_argument(
        "--temperature",
        type=_temperatures,
        default=[1.0],
        metavar="T[,T...]",
        help="one or several, such as 0.4,0.7,1.0 (default 1.0); 0 is greedy and takes -n 1",
    )
    sub.add_argument("--top-p", type=float, default=1.0, help="default 1.0: no cut")
    sub.add_argument("--seed", type=int, default=0, help="of the rollouts (default 0)")
    sub.add_argument("--max-new-tokens", type=int, help="default: the model's own, else 256")
    sub.add_argument("--batch-size", type=int, default=1024, help="rollouts generated at once here (default 1024)")
    sub.add_argument(
        "--out",
        metavar="DIR",
        help="where rollouts.jsonl and summary.json go (default runs/evaluate-MODEL-TASK), or a file NAME.jsonl",
    )
    sub.add_argument(
        "--plot",
        metavar="FILE",
        type=_figure,
        help="draw the curves, and the frontier over several temperatures; FILE ends in .png, .svg or .pdf",
    )
    sub.add_argument("--json", action="store_true", help="print the summary as JSON")
    sub.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_server(sub.add_argument_group("a model behind an OpenAI-compatible server (vLLM, SGLang, llama.cpp ...)"))
    sub.set_defaults(run=run)


def _add_server(group: Any) -> None:
    group.add_argument("--server", metavar="URL", help="base address, such as http://127.0.0.1:8000/v1")
    group.add_argument("--model-name", metavar="NAME", help="the name that it serves (default: its only one)")
    group.add_argument("--chat", action="store_true", default=None, help="send text prompts as one chat message each")
    group.add_argument("--api-key-variable", metavar="NAME", help="environment variable that holds the API key")
    group.add_argument("--concurrency", type=int, help="requests at once (default 32)")
    group.add_argument("--per-request", type=int, help="rollouts asked for in one request (default 1)")
    group.add_argument("--timeout", type=float, help="seconds for one try (default 600)")
    group.add_argument("--retries", type=int, help="tries after the first, with back-off (default 6)")


def run(options: argparse.Namespace) -> int:
    """Sample what is missing, print the numbers."""
    from advshape.evaluation.sampling.engine import SamplingFailed

    _check(options)
    try:
        results, out = _evaluated(options)
    except SamplingFailed as error:
        print(f"advshape: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("advshape: stopped; the same command goes on with what is in the log", file=sys.stderr)
        return STOPPED
    summaries = [result.to_json() for result in results]
    if options.json:
        print(json.dumps(summaries[0] if len(results) == 1 else _several(results), indent=1))
    else:
        print(text(summaries, None if len(results) == 1 else _several(results)["frontier"]))
        print(f"\n{out[0]}\n{out[1]}")
    if options.plot:
        print(f"drawn: {_draw(results, options.plot)}", file=sys.stderr)
    return DONE


def _check(options: argparse.Namespace) -> None:
    """What can be refused before a model is loaded or a server asked."""
    from advshape.errors import AdvshapeError
    from advshape.evaluation.sampling.engine import SamplingSettings, check_rollouts
    from advshape.evaluation.sampling.evaluate import check_request

    limit = 1 if options.max_new_tokens is None else options.max_new_tokens
    for temperature in options.temperature:
        check_rollouts(options.n, temperature)
        SamplingSettings(temperature=temperature, top_p=options.top_p, max_new_tokens=limit)
    check_request(options.count, options.batch_size, options.out)
    if options.plot:
        import matplotlib  # noqa: F401  (missing packages are said now, not after hours of sampling)

        if options.plot.parent.is_file():
            raise AdvshapeError(f"{options.plot.parent} is a file; {options.plot.name} needs a folder")


def _evaluated(options: argparse.Namespace) -> tuple[list[Evaluation], tuple[Path, Path]]:
    from advshape.evaluation.sampling.evaluate import evaluate, evaluate_temperatures, evaluation_paths
    from advshape.tasks import load_task
    from advshape.tasks.parameters import parse_assignments

    task = load_task(options.task, **parse_assignments(options.parameters))
    model, tokenizer, name = _server(options) if options.server else _local(options)
    out = options.out or f"runs/evaluate-{_slug(name)}-{_slug(options.task)}"
    settings = {
        "tokenizer": tokenizer,
        "count": options.count,
        "n": options.n,
        "top_p": options.top_p,
        "seed": options.seed,
        "max_new_tokens": _limit(options, model),
        "batch_size": options.batch_size,
        "out": out,
        "progress": not options.quiet,
    }
    if len(options.temperature) == 1:
        found = [evaluate(model, task, temperature=options.temperature[0], **settings)]
    else:
        found = evaluate_temperatures(model, task, options.temperature, **settings)
    return found, evaluation_paths(out)


def _local(options: argparse.Namespace) -> tuple[Any, Any, str]:
    """(model, tokenizer, name) in this process."""
    from advshape.cli.console import no_deprecation_notes, no_foreign_bars
    from advshape.errors import AdvshapeError
    from advshape.evaluation.sampling.models import find_model, load_model

    given = [f"--{name.replace('_', '-')}" for name in SERVER_OPTIONS if getattr(options, name) is not None]
    if given:
        raise AdvshapeError(f"{', '.join(given)}: only together with --server URL")
    if not options.model:
        raise AdvshapeError("give a MODEL, or --server URL")
    source = find_model(options.model)
    no_deprecation_notes()
    no_foreign_bars()
    return *load_model(source), options.model


SERVER_OPTIONS = ("model_name", "chat", "api_key_variable", "concurrency", "per_request", "timeout", "retries")


def _server(options: argparse.Namespace) -> tuple[Any, None, str]:
    """(engine, None, name of its model); asks the server for its models."""
    from advshape.errors import AdvshapeError
    from advshape.evaluation.sampling.server import ServedModel, Server

    if options.model:
        raise AdvshapeError(f"give either MODEL ({options.model}) or --server; a server's model is --model-name NAME")
    fields = {"model_name": "model", "api_key_variable": "key_variable"}
    given = {fields.get(k, k): getattr(options, k) for k in SERVER_OPTIONS if getattr(options, k) is not None}
    served = ServedModel(Server(options.server, **given))
    return served, None, Path(served.model).name


def _limit(options: argparse.Namespace, model: Any) -> int:
    """The most tokens of a completion: what was asked for, else the model's own, else 256."""
    own = getattr(getattr(model, "generation_config", None), "max_new_tokens", None)
    return options.max_new_tokens if options.max_new_tokens is not None else own or 256


def _several(results: Sequence[Evaluation]) -> dict[str, Any]:
    from advshape.evaluation.sampling.evaluate import frontier

    return {"temperatures": [result.to_json() for result in results], "frontier": frontier(results)}


def text(summaries: Sequence[Mapping[str, Any]], frontier: Mapping[str, Any] | None = None) -> str:
    """Summaries of one model at one or several temperatures, for a person: header, curves, frontier, notes."""
    parts = [_header(summaries)]
    parts += [_curve(summary, len(summaries) > 1) for summary in summaries]
    if frontier is not None:
        parts.append(_frontier(frontier))
    notes = dict.fromkeys(note for summary in summaries for note in summary["notes"])
    parts += ["\n".join(f"note: {note}" for note in notes)] if notes else []
    return "\n\n".join(parts)


def _header(summaries: Sequence[Mapping[str, Any]]) -> str:
    """What was sampled, with what, and who judged."""
    summary = summaries[0]
    s, chosen, versions = summary["settings"], summary["problems"], summary["versions"]
    temperatures = ", ".join(f"{one['settings']['temperature']:g}" for one in summaries)
    packages = ", ".join(f"{name} {number}" for name, number in versions.items())
    return "\n".join(
        [
            f"model     {s['model']} ({s['fingerprint']})",
            f"task      {s['task']}: {summary['prompts']} {chosen['split']} problems, seed {chosen['seed']}",
            f"sampling  n = {summary['n']}, temperature {temperatures}, top-p {s['top_p']:g}, at most "
            f"{s['max_new_tokens']} tokens, seed {s['seed']}",
            f"engine    {s['engine']} {s['engine_version']}",
            f"verifier  {s['verifier']} ({packages})",
        ]
    )


def _curve(summary: Mapping[str, Any], named: bool) -> str:
    """pass@k with its interval at every k, and what became of the rollouts."""
    curve, outcomes, bounds = summary["curve"], summary["outcomes"], summary["bounds"]
    lines = [f"temperature {summary['settings']['temperature']:g}"] if named else []
    rows = zip(curve["ks"], curve["values"], curve["low"], curve["high"], strict=True)
    lines += [f"pass@{k:<4} {value:.3f}  [{low:.3f}, {high:.3f}]" for k, value, low, high in rows]
    lines.append(f"{curve['confidence']:.0%} intervals over {curve['prompts']} problems: {curve['method']}")
    lines.append(
        ", ".join(f"{outcomes[name]} {name.replace('_', ' ')}" for name in ("right", "wrong", "not_judged"))
        + f"; {outcomes['truncated']} truncated"
    )
    if outcomes["not_judged"]:
        ends = zip(bounds["ks"], bounds["all_wrong"], bounds["all_right"], strict=True)
        lines.append(
            "not judged taken as wrong ... as right: "
            + ", ".join(f"pass@{k} {low:.3f} ... {high:.3f}" for k, low, high in ends)
        )
        lines += [f"not judged: {count} x {why}" for why, count in summary["not_judged_reasons"].items()]
    return "\n".join(lines)


def _frontier(frontier: Mapping[str, Any]) -> str:
    """One row for each temperature; the best value of each column is marked."""
    names = [f"pass@{k}" for k in frontier["ks"]]
    best = {name: max(row[name][0] for row in frontier["rows"]) for name in names}
    lines = ["temperature" + "".join(f"{name:>27}" for name in names)]
    for row in frontier["rows"]:
        cells = [
            f"{value:.3f} [{low:.3f}, {high:.3f}] {'*' if value == best[name] else ' '}"
            for name, (value, low, high) in ((name, row[name]) for name in names)
        ]
        lines.append(f"{row['temperature']:<11g}" + "".join(f"{cell:>27}" for cell in cells))
    return "\n".join([*lines, "* highest value in its column"])


def _draw(results: Sequence[Evaluation], path: Path) -> Path:
    """The curves, and beside them the frontier of several temperatures."""
    from advshape.report.figures.curves import draw_frontier, draw_pass_curves, new_figure, save_figure

    several = len(results) > 1
    ks = _several(results)["frontier"]["ks"]
    figure, axes = new_figure(2 if several and len(ks) == 2 else 1)
    label = Path(results[0].settings.model.partition(" at ")[0]).name
    named = {f"T = {r.settings.temperature:g}" if several else label: r.curve for r in results}
    draw_pass_curves(named, axes[0])
    if len(axes) == 2:
        draw_frontier({label: {r.settings.temperature: r.curve for r in results}}, axes[1], ks=tuple(ks))
    return save_figure(figure, path)[0]


def _temperatures(words: str) -> list[float]:
    """0.4,0.7,1.0"""
    try:
        found = [float(word) for word in words.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{words!r} is no list of temperatures; write 1.0 or 0.4,0.7,1.0") from None
    if len(set(found)) != len(found):
        raise argparse.ArgumentTypeError(f"{words!r} has a temperature twice")
    return found


def _figure(word: str) -> Path:
    if Path(word).suffix not in FIGURES:
        raise argparse.ArgumentTypeError(f"{word!r} has to end in {' or '.join(FIGURES)}")
    return Path(word)


def _slug(name: str) -> str:
    """A name that is good for a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
