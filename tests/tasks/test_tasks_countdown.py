"""Countdown: the verifier against independent oracles, hostile completions, the generator and the splits.

Oracles: Python's own parser with exact fractions (test only) for values, and a brute-force search over all
expressions for solvability. Neither shares code with the task.
"""

import ast
import itertools
import json
import operator
import re
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advshape.errors import AdvshapeError
from advshape.tasks import Problem, Task, Verdict
from advshape.tasks.countdown import Countdown, countdown_problem, evaluate_expression

TASK = Countdown()
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def oracle_value(text: str) -> Fraction | None:
    """Value by Python's grammar with fractions; None where our rules forbid what Python allows.

    Python allows ``00``; here no number starts with 0 unless it is 0.
    """
    if re.search(r"(?<!\d)0\d", text):
        return None

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return Fraction(node.value)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            value = OPERATORS[type(node.op)](walk(node.left), walk(node.right))
            if value.denominator != 1:
                raise ZeroDivisionError
            return value
        raise SyntaxError

    try:
        return walk(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError):
        return None


def oracle_numbers(text: str) -> list[int]:
    """The integers of a text, by Python's grammar."""
    tree = ast.walk(ast.parse(text.strip(), mode="eval"))
    return sorted(n.value for n in tree if isinstance(n, ast.Constant))


def reachable(numbers: tuple[int, ...]) -> set[int]:
    """All values of expressions that use every number once with + - * (brute force over set partitions)."""
    if len(numbers) == 1:
        return {numbers[0]}
    values = set()
    for size in range(1, len(numbers)):
        for left in itertools.combinations(range(len(numbers)), size):
            right = [i for i in range(len(numbers)) if i not in left]
            for a in reachable(tuple(numbers[i] for i in left)):
                for b in reachable(tuple(numbers[i] for i in right)):
                    values |= {a + b, a - b, a * b}
    return values


def valid_expressions(numbers: list[int]) -> st.SearchStrategy[str]:
    """Texts of random trees over these numbers in random order, with random spaces and redundant brackets."""

    @st.composite
    def build(draw: st.DrawFn) -> str:
        items = [str(n) for n in draw(st.permutations(numbers))]
        while len(items) > 1:
            i = draw(st.integers(0, len(items) - 2))
            space = draw(st.sampled_from(["", " "]))
            text = items[i] + space + draw(st.sampled_from("+-*/")) + space + items[i + 1]
            items[i : i + 2] = [f"({text})" if draw(st.booleans()) else text]
        return items[0]

    return build()


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6).flatmap(valid_expressions))
@settings(max_examples=250, deadline=None)
def test_property_value_is_pythons(text):
    expected = oracle_value(text)
    if expected is None:
        with pytest.raises(AdvshapeError, match="exact division"):
            evaluate_expression(text)
    else:
        assert evaluate_expression(text) == expected


@given(st.text(alphabet="0123456789+-*/() ", max_size=12))
@settings(max_examples=800, deadline=None)
def test_property_accepts_exactly_what_the_oracle_accepts(text):
    """Any text of the alphabet: same value, or both refuse (signs, `//` and `**` on both sides)."""
    expected = oracle_value(text)
    try:
        value = evaluate_expression(text)
    except AdvshapeError:
        value = None
    assert value == expected


@given(
    st.lists(st.integers(1, 20), min_size=3, max_size=4).flatmap(
        lambda numbers: st.tuples(st.just(numbers), valid_expressions(numbers), st.integers(1, 100))
    )
)
@settings(max_examples=300, deadline=None)
def test_property_verdict_is_right_iff_value_and_numbers_fit(case):
    numbers, text, target = case
    value = oracle_value(text)
    assert TASK.verdict(countdown_problem(numbers, target), text).outcome == ("right" if value == target else "wrong")
    if value is not None:
        assert oracle_numbers(text) == sorted(numbers)
        assert TASK.verdict(countdown_problem(numbers, int(value)), text).outcome == "right"
        assert TASK.verdict(countdown_problem([*numbers, 1], int(value)), text).outcome == "wrong"
        assert TASK.verdict(countdown_problem([*numbers[1:], 21], int(value)), text).outcome == "wrong"


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_property_any_text_gets_a_verdict(text):
    verdict = TASK.verdict(countdown_problem([4, 7, 12], 40), text)
    assert verdict.outcome in ("right", "wrong")
    assert bool(verdict.reason) == (verdict.outcome == "wrong")


HOSTILE = {
    "empty": "",
    "spaces": " " * 50,
    "the target alone": "40",
    "a number twice": "4*7+12+7-7",
    "a number missing": "4*7",
    "a foreign number": "4*7+12*1",
    "digits of a number split": "4*7+1+2",
    "numbers glued by space": "4*7+1 2",
    "equation": "4*7+12=40",
    "answer and more": "4*7+12\n",
    "two answers": "4*7+12,4*7+12",
    "unary minus": "-4*-7+12",
    "unary plus": "+4*7+12",
    "power": "4**7",
    "floor division": "12//4*7",
    "implicit product": "4(7)+12",
    "float": "4.0*7+12",
    "exponent": "4e0*7+12",
    "underscore digits": "1_2+4*7",
    "leading zeros": "04*7+12",
    "hexadecimal": "0x4*7+12",
    "arabic digits": "٤*٧+١٢",
    "fullwidth digits": "４*７+１２",
    "superscript": "4²*7+12",
    "mathematical bold digits": "𝟒*𝟕+𝟏𝟐",
    "fullwidth operator": "4＊7＋12",
    "non-breaking space": "4*7\u00a0+12",
    "zero-width space": "4*7\u200b+12",
    "null byte": "4*7+12\x00",
    "lone surrogate": "4*7+12\ud800",
    "right-to-left override": "\u202e4*7+12",
    "open bracket": "(4*7+12",
    "closed bracket": "4*7+12)",
    "empty brackets": "()4*7+12",
    "brackets reversed": ")4*7+12(",
    "operator at the end": "4*7+12+",
    "deep nesting": "(" * 10_000 + "4*7+12" + ")" * 10_000,
    "deep nesting, open": "(" * 1_000_000,
    "huge number": "9" * 1_000_000,
    "huge number within the limit": "9" * 100,
    "huge product": "*".join(["9" * 9] * 10),
    "very long sum": "+".join(["1"] * 500_000),
    "division by zero": "4/(7-7)+12",
    "division with a remainder": "7/4*12",
    "call": "__import__('os').system('true')",
    "call in brackets": "(lambda:40)()",
    "name": "True*40",
    "walrus": "(x:=40)",
    "comment": "4*7+12#",
    "format string": "{4*7+12}",
    "markup": "<script>4*7+12</script>",
    "verdict text": "right",
    "end token as text": "4*7+12<eos>",
}


@pytest.mark.parametrize("completion", HOSTILE.values(), ids=HOSTILE.keys())
def test_security_hostile_completion_is_wrong_at_once(completion):
    start = time.process_time()
    verdict = TASK.verdict(countdown_problem([4, 7, 12], 40), completion)
    assert verdict.outcome == "wrong"
    assert 0 < len(verdict.reason) < 400
    verdict.reason.encode()  # printable: no lone surrogate gets through
    assert time.process_time() - start < 0.5  # microseconds in fact; the slack is for a busy machine


def test_security_works_with_little_stack_left():
    def at_depth(depth: int) -> Verdict:
        if depth:
            return at_depth(depth - 1)
        return TASK.verdict(countdown_problem([4, 7, 12], 40), "(" * 47 + "4*7+12" + ")" * 47)

    used = len(__import__("inspect").stack())
    assert at_depth(sys.getrecursionlimit() - used - 60).outcome == "right"


@pytest.mark.parametrize(
    ("data", "completion"),
    [
        ({}, "1"),
        ({"numbers": [1, 2]}, "1"),
        ({"numbers": [], "target": 3}, "1"),
        ({"numbers": [1.0, 2], "target": 3}, "1+2"),
        ({"numbers": [True, 2], "target": 3}, "1+2"),
        ({"numbers": 5, "target": 3}, "1+2"),
        (None, "1+2"),
        ({"numbers": [1, 2], "target": 3}, None),
        ({"numbers": [1, 2], "target": 3}, b"1+2"),
        ({"numbers": [1, 2], "target": 3}, ["1+2"]),
    ],
)
def test_not_judged_only_where_the_input_is_no_puzzle_or_no_text(data, completion):
    verdict = TASK.verdict(Problem("x", "x", data), completion)
    assert verdict.outcome == "not_judged"
    assert verdict.reason
    assert np.isnan(verdict.reward)


@pytest.mark.parametrize(
    ("numbers", "target", "text"),
    [
        ([4, 7, 12], 40, "4*7+12"),
        ([4, 7, 12], 40, " 12 + (7*4) "),
        ([4, 7, 12], 40, "((((4))*(7)))+12"),
        ([2, 3, 10], 2, "10/2-3"),
        ([1, 2, 3], 2, "3-2+1"),
        ([1, 2, 3], 4, "3-(1-2)"),
        ([20, 20, 20, 20], 20, "20*20/20/20*20/20"),
    ],
)
def test_known_verdicts(numbers, target, text):
    expected = "wrong" if len(numbers) == 4 else "right"
    verdict = TASK.verdict(countdown_problem(numbers, target), text)
    assert (verdict.outcome, verdict.answer) == (expected, text.replace(" ", ""))


def test_enumeration_every_problem_can_be_solved():
    for problem in [*TASK.problems("train", 150), *TASK.problems("heldout", 150)]:
        assert problem.data["target"] in reachable(tuple(problem.data["numbers"]))


def test_solved_examples_are_right_short_and_diverse():
    pairs = list(TASK.solved(5000, seed=11))
    assert all(TASK.verdict(problem, text).outcome == "right" for problem, text in pairs)
    assert all(oracle_value(text) == problem.data["target"] for problem, text in pairs)
    assert max(len(text) for _, text in pairs) <= 15
    assert {c for _, text in pairs for c in text} == set("0123456789+-*()")
    heldout = {problem.id for problem in TASK.problems("heldout", 5000)}
    assert not heldout & {problem.id for problem, _ in pairs}


def test_solved_brackets_matter():
    for _, text in TASK.solved(2000, seed=5):
        for place in [i for i, c in enumerate(text) if c == "("]:
            depth = np.cumsum([(c == "(") - (c == ")") for c in text[place:]])
            close = place + int(np.argmin(depth > 0))
            bare = text[:place] + text[place + 1 : close] + text[close + 1 :]
            assert oracle_value(with_primes(bare)) != oracle_value(with_primes(text)), f"{text}, place {place}"


def with_primes(text: str) -> str:
    """The same form with other numbers, at which no two different forms agree by accident."""
    primes = iter(["1009", "2003", "3001", "4001"])
    return re.sub(r"\d+", lambda _: next(primes), text)


def test_solved_operands_are_sorted():
    """With one + and one * there is no chain to merge: at both, the larger value stands first."""
    checked = 0
    for _, text in TASK.solved(4000, seed=6):
        if sorted(c for c in text if c in "+-*") != ["*", "+"]:
            continue
        checked += 1
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.BinOp):
                assert oracle_value(ast.unparse(node.left)) >= oracle_value(ast.unparse(node.right)), text
    assert checked > 100


def test_splits_are_disjoint_and_ids_distinct():
    train = [p.id for seed in range(3) for p in TASK.problems("train", 4000, seed)]
    heldout = [p.id for seed in range(3) for p in TASK.problems("heldout", 4000, seed)]
    assert not set(train) & set(heldout)
    for seed in range(3):
        part = heldout[4000 * seed : 4000 * (seed + 1)]
        assert len(set(part)) == 4000
    assert heldout[:4000] != heldout[4000:8000]


def test_same_seed_same_problems_and_more_only_appends():
    few, many = TASK.problems("heldout", 10, seed=3), TASK.problems("heldout", 1500, seed=3)
    assert list(many[:10]) == list(few)
    assert TASK.problems("train", 5) != TASK.problems("train", 5, seed=1)
    assert TASK.problems("train", 0) == []


PINNED_HELDOUT = ["countdown-2.3.17.17=45", "countdown-3.4.8=9", "countdown-11.17.18=24"]
PINNED_TRAIN = ["countdown-14.16.16.19=33", "countdown-2.3.3=9", "countdown-2.2.12=20"]


def test_pinned_first_problems():
    """Recorded runs and the shipped model depend on these: a change of the generator must be deliberate."""
    assert [p.id for p in TASK.problems("heldout", 3)] == PINNED_HELDOUT
    assert [p.id for p in TASK.problems("train", 3)] == PINNED_TRAIN


def test_shares_and_ranges():
    problems = TASK.problems("train", 8000)
    four = np.mean([len(p.data["numbers"]) == 4 for p in problems])
    # 60 % are drawn with four; of those fewer have a target in 1..100 and more are distinct
    assert 0.45 < four < 0.65
    assert {n for p in problems for n in p.data["numbers"]} == set(range(1, 21))
    assert {p.data["target"] for p in problems} == set(range(1, 101))
    assert all(p.data["numbers"] == sorted(p.data["numbers"]) for p in problems)
    assert all(json.loads(json.dumps(dict(p.data))) == p.data for p in problems[:50])


def test_heldout_share_is_a_tenth():
    rng = np.random.default_rng(0)
    from advshape.tasks.countdown import is_heldout

    drawn = [is_heldout(rng.integers(1, 21, 4).tolist(), int(rng.integers(1, 101))) for _ in range(10_000)]
    # standard error .003; five of them
    assert abs(np.mean(drawn) - 0.1) < 0.015


def test_hundred_thousand_problems_take_seconds():
    start = time.process_time()
    assert len(TASK.problems("train", 100_000)) == 100_000
    assert time.process_time() - start < 20  # 4 s on a quiet core


def test_prompt_and_protocol():
    assert isinstance(TASK, Task)
    problem = countdown_problem([12, 4, 7], 40)
    assert (problem.id, problem.prompt) == ("countdown-4.7.12=40", "4 7 12=40:")
    assert Verdict("right").reward == 1.0
    assert Verdict("wrong", "x").reward == 0.0
    with pytest.raises(AdvshapeError, match="'not_judged'"):
        Verdict("maybe")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"four": 1.5}, "between 0 and 1"),
        ({"four": "x"}, "between 0 and 1"),
        ({"largest": 1}, "between 2 and 1000"),
        ({"largest": 2.5}, "integer"),
        ({"largest_target": 0}, "between 1 and 1000000"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(AdvshapeError, match=message):
        Countdown(**change)


def test_bad_requests():
    with pytest.raises(AdvshapeError, match="'train' and 'heldout'"):
        TASK.problems("test", 1)
    with pytest.raises(AdvshapeError, match="0 or more"):
        TASK.problems("train", -1)
    with pytest.raises(AdvshapeError, match="asked for 500; ask for fewer"):
        Countdown(largest=2, four=0.0).problems("heldout", 500)
