"""Mathematics with a known answer: your own file or data set, judged by math-verify.

The columns of GSM8K (Cobbe et al. 2021, arXiv:2110.14168: ``question``, and ``answer`` that ends in ``#### 42``) and
of MATH (Hendrycks et al. 2021, arXiv:2103.03874: ``problem``, and ``solution`` with its answer in
``\\boxed{}``) are known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import ClassVar

from advshape.errors import AdvshapeError
from advshape.tasks.file_task import FileTask
from advshape.tasks.protocol import Problem, Verdict
from advshape.tasks.rows import digest, find_column, prompt_of, text_of
from advshape.tasks.source import Row
from advshape.tasks.workers import WorkerFailed, shared_pool

__all__ = ["Maths", "final_answer", "last_boxed"]

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
QUESTIONS = ("question", "problem", "prompt")
ANSWERS = ("answer", "final_answer", "solution")
LONGEST = 20_000
"""Characters of a completion's end that are read."""
SPARE_SECONDS = 2.0
WORKER = "advshape.tasks.maths_worker"


@dataclass(frozen=True, repr=False)
class Maths(FileTask):
    """Problems with a final answer, from a file or a data set.

    Args:
        path, heldout_path, dataset, config, train_split, heldout_split: where the problems are, see `source.Source`.
        question: column of the question; None: the first of "question", "problem", "prompt".
        answer: column of the answer; None: the first of "answer", "final_answer", "solution".
        heldout_share: share of the problems to hold out, by hash, where no held-out file or split is given.
        chat: prompts are chat messages (one user message); False: a plain string.
        instruction: appended to the question after an empty line; "" appends nothing.
        seconds: wall-clock time for one verdict.
        workers: verdicts at a time; None: one for each processor.

    The answer of a row is what follows the last ``####``, else what the last ``\\boxed{}`` holds, else the whole text
    (a ``solution`` without a box is an error). A completion is right iff math-verify finds an answer that is equal
    to it as mathematics (1/2, 0.5 and \\frac12 are one answer) in the completion's last box, or in its text if it
    has no box.
    That answer, as math-verify spells it, is the verdict's ``answer``.
    A verifier that raises, crashes or takes longer than ``seconds`` gives ``not_judged``.

    Raises:
        AdvshapeError: package missing, file or column missing (with those there are), a row without an answer.
    """

    VERIFIER: ClassVar[str] = "0dbd7ef0"
    """Names the rule of verdicts: another one where a verdict can change."""

    question: str | None = None
    answer: str | None = None
    heldout_share: float = 0.1
    chat: bool = True
    instruction: str = INSTRUCTION
    seconds: float = 10.0
    workers: int | None = field(default=None, repr=False)
    name: str = field(default="maths", init=False)

    def __post_init__(self) -> None:
        if find_spec("math_verify") is None:
            raise AdvshapeError("maths needs the package math-verify: pip install 'advshape[maths]'")
        if not isinstance(self.seconds, (int, float)) or not 0 < self.seconds <= 3600:
            raise AdvshapeError(f"seconds is a number above 0, at most 3600, got {self.seconds!r}")
        super().__post_init__()

    def judge_text(self, problem: Problem, text: str) -> Verdict:
        answer = problem.data.get("answer")
        if not isinstance(answer, str):
            return Verdict("not_judged", "the problem has no answer")
        text = text[-LONGEST:]
        box = last_boxed(text)
        given = text if box is None else f"\\boxed{{{box}}}"
        question = {"answer": answer, "completion": given, "seconds": self.seconds}
        try:
            outcome, reason, found = shared_pool(WORKER).ask(question, self.seconds + SPARE_SECONDS)
        except WorkerFailed as error:
            return Verdict("not_judged", str(error))
        return Verdict(outcome, reason, found)

    def make_problems(self, rows: Sequence[Row], where: str) -> Callable[[Row], Problem]:
        """What makes a problem of a row."""
        asks = find_column(rows, QUESTIONS, self.question, "question", where)
        tells = find_column(rows, ANSWERS, self.answer, "answer", where)

        def make(row: Row) -> Problem:
            question = text_of(row, asks)
            data = {"question": question, "answer": final_answer(text_of(row, tells), boxed=tells == "solution")}
            return Problem(f"maths-{digest(question)[:16]}", prompt_of(question, self.instruction, self.chat), data)

        return make


def final_answer(text: str, boxed: bool = False) -> str:
    """The answer in a reference solution: after ``####``, in the last box, or the whole text.

    >>> final_answer("He has 3 * 14 = <<3*14=42>>42 left.\\n#### 1,042")
    '1042'
    >>> final_answer("So it is $\\\\boxed{\\\\frac{1}{2}}$.")
    '\\\\frac{1}{2}'
    >>> final_answer("x = 3")
    'x = 3'
    """
    found = text.rpartition("####")[2] if "####" in text else last_boxed(text)
    if found is None:
        if boxed:
            raise AdvshapeError("the solution has no \\boxed{} answer; name the column of the answer with answer=")
        found = text
    found = found.strip()
    if not found:
        raise AdvshapeError("the answer is empty")
    if re.fullmatch(r"[$-]*\d{1,3}(,\d{3})+(\.\d+)?", found):
        found = found.replace(",", "")
    return found


def last_boxed(text: str) -> str | None:
    """What the last ``\\boxed{...}`` or ``\\fbox{...}`` holds, braces balanced; None where there is none.

    >>> last_boxed("\\\\boxed{1} and \\\\boxed{\\\\sqrt{2}}")
    '\\\\sqrt{2}'
    """
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return re.sub(r".*\\boxed\s+", "", found[0]) if (found := re.findall(r"\\boxed\s+[^\s$]+", text)[-1:]) else None
    begin = text.index("{", start) + 1
    depth = 1
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[begin:place]
    return None
