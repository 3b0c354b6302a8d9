"""``advshape plan``: how many prompts and rollouts does a comparison need?"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from advshape.cli.log_options import add_reading, reading

if TYPE_CHECKING:
    from advshape.evaluation.readers import Options
    from advshape.evaluation.stats.extrapolate import RateModel
    from advshape.evaluation.stats.sample_size import Plan, PlanRow

__all__ = ["add", "plan_text"]

DONE = 0
BAD = 0.05


def add(commands: Any) -> None:
    """The subcommand."""
    sub = commands.add_parser(
        "plan",
        help="prompts and rollouts that a comparison needs",
        description="How many prompts, and how many rollouts of each, a paired comparison needs to find a given "
        "difference of pass@k; what more rollouts can and cannot buy. The success rates come from a LOG (a run "
        "directory, a folder of `advshape evaluate`, or any log that `advshape passk` reads), or from --prior.",
        allow_abbrev=False,
    )
    sub.add_argument(
        "--from",
        nargs="+",
        metavar="LOG",
        dest="logs",
        help="measured rollouts; of two logs on the same prompts the second says how differently prompts "
        "change (see --spread)",
    )
    sub.add_argument("--prior", metavar="A,B[,NEVER]", help="success rates are Beta(A, B), a share NEVER of them 0")
    sub.add_argument("--difference", type=float, required=True, metavar="D", help="change of pass@k to be found")
    sub.add_argument("--k", "-k", type=int, required=True, metavar="K", help="the one k that will be tested")
    sub.add_argument(
        "-n",
        type=int,
        nargs="+",
        metavar="N",
        dest="ns",
        help="rollouts per prompt to look at (default K, 2 K, 4 K ... 32 K)",
    )
    sub.add_argument("--prompts", type=int, metavar="M", help="prompts at hand: what would they show? (default: LOG's)")
    sub.add_argument(
        "--spread",
        type=float,
        help="how differently prompts change: standard deviation of the change "
        "in log-odds (default 1; with two logs: measured)",
    )
    sub.add_argument("--power", type=float, default=0.8, help="chance to find the difference (default 0.8)")
    sub.add_argument("--level", type=float, default=0.05, help="of the two-sided test (default 0.05)")
    sub.add_argument("--json", action="store_true")
    add_reading(sub)
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Plan and print."""
    import json

    from advshape.errors import AdvshapeError
    from advshape.evaluation.stats.sample_size import make_plan

    if (options.logs is None) == (options.prior is None):
        raise AdvshapeError("give either --from LOG, which measures the success rates, or --prior A,B")
    if options.prompts is not None and options.prompts < 2:
        raise AdvshapeError(f"--prompts {options.prompts}: a comparison needs 2 or more")
    if options.logs:
        rates, spread, given, said = _measured(options.logs, reading(options), options.spread)
    else:
        rates, spread, given = _prior(options.prior), options.spread, None
        said = [f"success rates: {_words(rates)}, as given"]
    if spread is None:
        spread = 1.0
        said.append("prompts change differently: log-odds +- 1, a guess; measure it with a second log, or set --spread")
    plan = make_plan(
        rates,
        options.difference,
        options.k,
        ns=options.ns,
        spread=spread,
        power=options.power,
        level=options.level,
        given=options.prompts or given,
    )
    print(json.dumps({**plan.to_json(), "notes": said}, indent=1) if options.json else plan_text(plan, said))
    return DONE


def _measured(logs: list[str], how: Options, spread: float | None) -> tuple[RateModel, float | None, int, list[str]]:
    """Rates fitted to the first log, the spread between both, the first one's prompts, and what to say."""
    from advshape.errors import AdvshapeError
    from advshape.evaluation.results.runs import load_runs
    from advshape.evaluation.stats.extrapolate import extrapolate
    from advshape.evaluation.stats.power import fit_change

    if len(logs) > 2:
        raise AdvshapeError(f"--from takes one log, or two on the same prompts, got {len(logs)}")
    loaded = load_runs(logs, how)
    for name, runs in zip(logs, loaded, strict=True):
        if len(runs) > 1:
            raise AdvshapeError(f"{name} holds {len(runs)} settings; choose one, as in {name}@temperature=1.0")
    first, *others = [runs[0].counts for runs in loaded]
    models = [
        extrapolate(first, [1], model, replicates=100) for model in ("beta-binomial", "zero-inflated beta-binomial")
    ]
    best = models[0] if models[0].fit >= BAD or models[0].fit >= models[1].fit else models[1]
    said = [
        f"success rates: {_words(best.rates)}, fitted to {first.prompts} prompts of {loaded[0][0].source}"
        f" (goodness of fit: p = {best.fit:.2f})"
    ]
    if best.fit < BAD:
        said.append("WARNING: no model fits these success rates; take the plan as a rough guide")
    if others and spread is None:
        shift, spread = fit_change(*_same_prompts(first, others[0]), best.rates)
        said.append(f"from the first to the second log: log-odds {shift:+.2f} +- {spread:.2f} between prompts")
    return best.rates, spread, first.prompts, said


def _same_prompts(first: Any, second: Any) -> tuple[Any, Any]:
    """Both counts over the prompts that both judged, in one order."""
    from advshape.errors import AdvshapeError

    place = {problem: i for i, problem in enumerate(second.problems)}
    rows = [i for i, p in enumerate(first.problems) if p in place and first.judged[i] and second.judged[place[p]]]
    if len(rows) < 2:
        raise AdvshapeError("the two logs share fewer than 2 judged prompts; give one log, and --spread")
    return first.select(rows), second.select([place[first.problems[i]] for i in rows])


def _prior(text: str) -> RateModel:
    from advshape.errors import AdvshapeError
    from advshape.evaluation.stats.extrapolate import RateModel

    try:
        a, b, *never = (float(part) for part in text.split(","))
        rates = RateModel(a, b, *never)
    except (TypeError, ValueError):
        raise AdvshapeError(f"--prior takes A,B or A,B,NEVER, such as 0.3,0.6, got {text!r}") from None
    if not (0 < rates.a < 1e6 and 0 < rates.b < 1e6 and 0 <= rates.never < 1):
        raise AdvshapeError(f"--prior needs A > 0, B > 0 and 0 <= NEVER < 1, got {text!r}")
    return rates


def _words(rates: RateModel) -> str:
    beta = f"Beta({rates.a:.3g}, {rates.b:.3g})"
    return f"{beta}, {rates.never:.1%} never solved" if rates.never > 0.0005 else beta


def plan_text(plan: Plan, said: list[str]) -> str:
    """The plan as text: what was supposed, the table over n, and what it means."""
    now = float(plan.rates.pass_at([plan.k])[0])
    lines = [
        *said,
        f"to be found: pass@{plan.k} {now:.3f} -> {now + plan.difference:.3f} (log-odds {plan.shift:+.2f} on average),"
        f" with chance {plan.power:.0%}, in a two-sided paired test at level {plan.level:g}",
        "",
    ]
    head = f"{'n':>8}{'sd of one prompt':>18}{'prompts':>10}{'rollouts per model':>20}"
    lines.append(head + (f"{f'found with {plan.given} prompts':>28}" if plan.given else ""))
    lines += [_row(row) for row in plan.rows]
    return "\n".join([*lines, "", *_meaning(plan)])


def _row(row: PlanRow) -> str:
    prompts = "over 10^7" if row.prompts is None else f"{row.prompts:,}"
    rollouts = "-" if row.rollouts is None else f"{row.rollouts:,}"
    name = "no end" if row.n is None else str(row.n)
    found = "" if row.detectable is None else f"{f'+-{row.detectable:.3f}':>28}"
    return f"{name:>8}{row.spread:>18.3f}{prompts:>10}{rollouts:>20}{found}"


def _meaning(plan: Plan) -> list[str]:
    floor, most = plan.rows[-1], plan.rows[-2]
    least = plan.cheapest
    lines = []
    if least is not None:
        lines.append(f"Cheapest: {least.prompts:,} prompts x {least.n} rollouts = {least.rollouts:,} for each model.")
    if floor.prompts is not None:
        share = floor.spread**2 / most.spread**2
        lines.append(
            f"More rollouts cannot buy: fewer than {floor.prompts:,} prompts, the floor that the spread between prompts"
            f" sets (it makes {share:.0%} of the variance at n = {most.n}); only more prompts get below."
        )
    if plan.given and floor.prompts and plan.given < floor.prompts:
        lines.append(f"{plan.given} prompts are too few for this difference, with any number of rollouts.")
    return lines
