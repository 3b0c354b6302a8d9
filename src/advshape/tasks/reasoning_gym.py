"""Every procedural task of the reasoning-gym package as a task of ours.

reasoning-gym (Stojanovski et al. 2025, arXiv:2505.24760) makes problems and scores answers, all offline.
Importing it takes seconds, so that happens only when a task is made.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

from advshape.errors import AdvshapeError
from advshape.tasks.protocol import Problem, Prompt, Split, Verdict, check_request

__all__ = ["ReasoningGym", "extract_answer"]

INSTRUCTION = "Put your final answer, and nothing else, between <answer> and </answer>."
BLOCK = 500
"""Items of one reasoning-gym data set; item i is made from its seed + i, whatever its size."""
SEED_RANGE = 100_000
"""Items that one of our seeds may use: two seeds never share one."""
LARGEST_SEED = 2**32 // SEED_RANGE - 1
LONGEST_ANSWER = 20_000
EVALUATES_ANSWERS = frozenset(
    {
        "binary_matrix",
        "countdown",
        "intermediate_integration",
        "n_queens",
        "polynomial_multiplication",
        "puzzle24",
        "simple_integration",
        "spiral_matrix",
        "string_insertion",
    }
)
"""Tasks whose scorer hands the answer to Python's ``eval`` (some through ``sympy.parse_expr``), as of 0.1.25."""


class ReasoningGym:
    """One reasoning-gym task, by name, with its own parameters.

    Args:
        dataset: name of the reasoning-gym task, e.g. ``"basic_arithmetic"``.
        chat: prompts are chat messages (one user message); False: a plain string.
        instruction: appended to the question after an empty line; "" appends nothing.
        run_answers: allow the tasks in ``EVALUATES_ANSWERS``, whose scorer executes the model's answer as
            Python code in this process. Off by default: use it only where the whole process is isolated.
        parameters: fields of that task's reasoning-gym configuration (all but ``seed`` and ``size``).

    The answer is what stands in the last ``<answer>...</answer>``, else the last line that is not empty.
    A completion is right iff ``score_answer`` gives at least 1.0: partial credit counts as wrong. A scorer
    that raises gives ``not_judged`` with the error's name.

    Each question falls into the training or the held-out half by its SHA-256, so the splits share no
    question, even where a task makes few different ones; different seeds draw from different items.

    Raises:
        AdvshapeError: package missing, unknown task (with the nearest name), unknown or refused parameters.

    >>> task = ReasoningGym("basic_arithmetic", max_terms=2, max_digits=1)  # doctest: +SKIP
    >>> task.problems("train", 1)[0].prompt                                # doctest: +SKIP
    [{'role': 'user', 'content': 'Calculate 7 + 3.\\n\\nPut your final answer, ...'}]
    """

    VERIFIER: ClassVar[str] = "e35a9f83"
    """Names the rule of verdicts: another one where a verdict can change."""

    def __init__(
        self,
        dataset: str,
        /,
        *,
        chat: bool = True,
        instruction: str = INSTRUCTION,
        run_answers: bool = False,
        **parameters: Any,
    ) -> None:
        check_dataset(dataset)
        if dataset in EVALUATES_ANSWERS and not run_answers:
            raise AdvshapeError(
                f"reasoning_gym:{dataset} executes the model's answers as Python code; choose another task, "
                "or pass run_answers=True inside an isolated process"
            )
        check_parameters(dataset, parameters)
        self.name = f"reasoning_gym:{dataset}"
        self.dataset, self.parameters = dataset, parameters
        self.chat, self.instruction = chat, instruction
        self._block = lru_cache(maxsize=64)(self._make_block)
        self._entry = lru_cache(maxsize=65536)(self._make_entry)
        self._block(0)

    def problems(self, split: Split, count: int, seed: int = 0) -> Sequence[Problem]:
        """``count`` distinct problems of a split; asking for more with the same seed only appends.

        Some tasks need a second or more for one problem: a progress bar appears after two seconds.
        """
        from tqdm.auto import tqdm

        check_request(split, count)
        if not 0 <= seed <= LARGEST_SEED:
            raise AdvshapeError(f"seed must be between 0 and {LARGEST_SEED}, got {seed}")
        found: dict[str, Problem] = {}
        tries = min(SEED_RANGE, 20 * count + BLOCK)
        with tqdm(total=count, desc=f"making {self.name}", delay=2, leave=False) as bar:
            for item in range(seed * SEED_RANGE, seed * SEED_RANGE + tries):
                if len(found) == count:
                    break
                problem = self._problem(item)
                if is_heldout(problem.data["question"]) == (split == "heldout") and problem.id not in found:
                    found[problem.id] = problem
                    bar.update()
        if len(found) < count:
            raise AdvshapeError(
                f"{self.name} gave only {len(found)} distinct {split} problems in {tries} draws, asked for "
                f"{count}; ask for fewer or choose harder parameters"
            )
        return list(found.values())

    def verdict(self, problem: Problem, completion: str) -> Verdict:
        """Right iff reasoning-gym scores the extracted answer 1.0 or more; never raises."""
        text: object = completion
        if not isinstance(text, str):
            return Verdict("not_judged", f"the completion is {type(text).__name__}, not text")
        answer = extract_answer(text)
        if not answer:
            return Verdict("wrong", "no answer", "")
        if len(answer) > LONGEST_ANSWER:
            reason = f"the answer has {len(answer)} characters, more than {LONGEST_ANSWER}"
            return Verdict("wrong", reason, answer[:LONGEST_ANSWER])
        try:
            item = problem.data["item"]
            entry = copy.deepcopy(self._entry(item))
            if entry["question"] != problem.data["question"]:
                return Verdict("not_judged", f"{self.name} with these parameters makes another problem here")
            score = float(self._block(item // BLOCK).score_answer(answer, entry))
        except Exception as error:  # the scorer is third-party code fed with hostile text
            return Verdict("not_judged", f"the scorer raised {type(error).__name__}: {str(error)[:200]}")
        return Verdict("right", "", answer) if score >= 1.0 else Verdict("wrong", f"score {score:.4g}", answer)

    def _make_block(self, block: int) -> Any:
        """The reasoning-gym data set that holds items ``BLOCK * block`` and the next ``BLOCK - 1``."""
        import reasoning_gym

        try:
            return reasoning_gym.create_dataset(self.dataset, seed=block * BLOCK, size=BLOCK, **self.parameters)
        except (ValueError, TypeError, AssertionError) as error:
            raise AdvshapeError(
                f"reasoning_gym:{self.dataset} refuses {self.parameters or 'its default parameters'}: {error}"
            ) from error

    def _make_entry(self, item: int) -> dict[str, Any]:
        """Question, answer and metadata of one item."""
        entry: dict[str, Any] = self._block(item // BLOCK)[item % BLOCK]
        return entry

    def _problem(self, item: int) -> Problem:
        """One item as a problem; the scorer's metadata is rebuilt from the item's number when needed."""
        entry = self._entry(item)
        question, answer = entry["question"], entry["answer"]
        text = f"{question}\n\n{self.instruction}" if self.instruction else question
        prompt: Prompt = [{"role": "user", "content": text}] if self.chat else text
        data = {"item": item, "question": question, "answer": answer if isinstance(answer, str) else None}
        return Problem(f"reasoning_gym-{self.dataset}-{digest(question)[:16]}", prompt, data)


def extract_answer(completion: str) -> str:
    """The text in the last ``<answer>...</answer>``, else the last line that is not empty, else "".

    >>> extract_answer("So <answer> 12 </answer> it is.")
    '12'
    >>> extract_answer("3 + 9\\n12\\n")
    '12'
    """
    end = completion.rfind("</answer>")
    start = completion.rfind("<answer>", 0, max(end, 0))
    if start >= 0:
        return completion[start + len("<answer>") : end].strip()
    lines = re.split(r"[\r\n]+", completion.strip())
    return lines[-1].strip()


def digest(question: str) -> str:
    """SHA-256 of a question in hexadecimal."""
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()


def is_heldout(question: str) -> bool:
    """Whether a question belongs to the held-out half."""
    return int(digest(question)[-1], 16) % 2 == 0


def registry() -> dict[str, Any]:
    """reasoning-gym's tasks: name -> (data set class, configuration class)."""
    try:
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise AdvshapeError("reasoning_gym tasks need the package reasoning-gym: pip install reasoning-gym") from error
    return dict(DATASETS)


def check_dataset(dataset: str) -> None:
    """Raise, with the nearest name, unless reasoning-gym has this task."""
    known = registry()
    if dataset in known:
        return
    nearest = difflib.get_close_matches(dataset, known, n=1, cutoff=0.0)
    raise AdvshapeError(
        f"unknown task reasoning_gym:{dataset}; nearest is reasoning_gym:{nearest[0]} "
        f"(reasoning-gym has {len(known)} tasks)"
    )


def check_parameters(dataset: str, parameters: dict[str, Any]) -> None:
    """Raise unless all parameters are fields of the task's configuration that we don't set ourselves."""
    fields = {field.name for field in dataclasses.fields(registry()[dataset][1])} - {"seed", "size"}
    unknown = sorted(set(parameters) - fields)
    if unknown:
        allowed = sorted(fields | {"chat", "instruction", "run_answers"})
        raise AdvshapeError(
            f"reasoning_gym:{dataset} has no parameter {', '.join(map(repr, unknown))}; allowed: {', '.join(allowed)}"
        )
