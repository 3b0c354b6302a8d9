"""Rollouts from any OpenAI-compatible server: vLLM, SGLang, llama.cpp and others.

One request for each rollout, many at once: every rollout so has a seed of its own, and its number of tokens is
known. Servers answer the same seed with the same text only as far as they promise to; the log does not depend
on it. httpx2 is imported on first use.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from advshape.errors import AdvshapeError
from advshape.evaluation.logs.rollout_log import Rollout
from advshape.evaluation.sampling.answers import read_completions, read_models
from advshape.evaluation.sampling.engine import (
    Completion,
    Identity,
    SamplingFailed,
    SamplingSettings,
    judged,
    progress_bar,
)
from advshape.evaluation.sampling.transport import Refused, Transport, Unanswered, Unreachable

if TYPE_CHECKING:
    from advshape.tasks.protocol import Problem, Task

__all__ = ["ServedModel", "Server"]

Job = tuple[int, list[int]]
"""A problem's row, and samples of it."""

PLAIN: Mapping[str, Mapping[str, Any]] = {
    "vllm": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": {"samplers": ["temperature", "top_p"], "top_k": -1, "min_p": 0.0, "repeat_penalty": 1.0},
}
"""What makes each server draw from the plain model, whose own defaults add top-k, min-p or penalties; llama.cpp
would also cut by top-p before it applies the temperature."""
VERSIONS: Mapping[str, Sequence[tuple[str, str]]] = {
    "vllm": [("/version", "version")],
    "sglang": [("/server_info", "version"), ("/get_server_info", "version")],
    "llamacpp": [("/props", "build_info")],
}
"""Where each server tells its version, outside of the OpenAI interface: path and field."""
FAILED_PROBLEMS = 8
"""Problems that may fail one after the other before the server is taken to be out of order."""
FATAL = (401, 403, 404, 405)
SEEDS = 2**31 - 2**16
"""Seeds are below this: servers keep 32 bits with sign, and add the number of a choice."""


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible server, and how to ask it. Making one connects to nothing.

    Args:
        url: base address such as "http://127.0.0.1:8000/v1"; an address without a path gets "/v1".
        model: the name that it serves the model under; "": the only one that it lists.
        chat: a prompt that is text becomes one user message for the chat endpoint, in place of a text to go on
            with; prompts that are chat messages go there anyway.
        key_variable: environment variable that holds the API key; it is sent and never shown or written.
        concurrency: requests at once.
        timeout: seconds for one try.
        retries: tries after the first, with back-off, when there is no usable answer.
        per_request: rollouts asked for at once (the field `n`). Above 1 their numbers of tokens are not known,
            and a resumed evaluation may ask for other groups, so with other seeds.
        wait: seconds before the second try; see `Transport`.
    """

    url: str
    model: str = ""
    chat: bool = False
    key_variable: str = ""
    concurrency: int = 32
    timeout: float = 600.0
    retries: int = 6
    per_request: int = 1
    wait: float = field(default=0.5, repr=False)

    def __post_init__(self) -> None:
        for name in ("concurrency", "per_request"):
            if getattr(self, name) < 1:
                raise AdvshapeError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not self.timeout > 0 or self.retries < 0:
            raise AdvshapeError(f"timeout must be above 0 and retries 0 or more, got {self.timeout}, {self.retries}")
        _ = self.base

    @cached_property
    def base(self) -> str:
        """The address that "/completions" is appended to.

        >>> Server("http://127.0.0.1:8000").base
        'http://127.0.0.1:8000/v1'
        """
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or True)
        except ValueError:
            usable = False
        if not usable:
            raise AdvshapeError(f"{self.url!r} is no address of a server; give one such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise AdvshapeError(
                f"the address of {parts.hostname} has a password, query or fragment in it; give the plain address,"
                " and the key in an environment variable"
            )
        path = parts.path.rstrip("/")
        if path.endswith("/completions"):
            raise AdvshapeError(f"give the base address, which ends before /completions or /chat; got {self.url!r}")
        return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"

    def transport(self) -> Transport:
        """A connection pool to this server."""
        key = self._key()
        return Transport(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            secret=key,
            connections=self.concurrency,
            timeout=self.timeout,
            retries=self.retries,
            wait=self.wait,
            proxies=urlsplit(self.base).hostname not in ("127.0.0.1", "localhost", "::1"),
        )

    def _key(self) -> str:
        if not self.key_variable:
            return ""
        key = os.environ.get(self.key_variable, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise AdvshapeError(
                f"the environment variable {self.key_variable} holds no API key; set it to one line of plain text"
            )
        return key


class ServedModel:
    """A model behind a server, as a sampling engine. Making one asks the server which models it has.

    Raises:
        SamplingFailed: the server cannot be reached or does not answer.
        AdvshapeError: it refuses the key or does not have the model.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        with server.transport() as transport:
            card = _choose(server, _listed(server, transport))
            self.kind = card["owned_by"] if card.get("owned_by") in PLAIN else ""
            version = _version(server, self.kind, transport)
        self.model: str = card["id"]
        self.identity = Identity(
            model=f"{self.model} at {server.base}",
            fingerprint=_fingerprint(card),
            engine=f"{self.kind or 'OpenAI-compatible'} server" + (", text as chat" if server.chat else ""),
            engine_version=version,
        )
        self.notes: list[str] = [] if self.kind else [_unknown_kind(server)]
        self._per_request = server.per_request

    def sample(
        self,
        task: Task,
        problems: Sequence[Problem],
        *,
        n: int,
        settings: SamplingSettings,
        skip: Container[tuple[str, int]],
        progress: bool,
    ) -> Iterator[list[Rollout]]:
        """Rollouts as they come; see `Engine.sample`.

        A problem that stays without an answer does not stop the others: it is reported at the end.

        Raises:
            SamplingFailed: rollouts are missing at the end, or the server refuses or fails altogether.
        """
        missing = [(row, [i for i in range(n) if (p.id, i) not in skip]) for row, p in enumerate(problems)]
        jobs = deque(job for job in missing if job[1])
        total = n * len(problems)
        done = total - sum(len(samples) for _, samples in jobs)
        title = f"sampling at temperature {settings.temperature:g}"
        with progress_bar(total, done, progress, title) as on, self.server.transport() as transport:
            for came in self._answers(transport, jobs, problems, settings):
                fresh = judged(task, [(problems[row], sample, answer) for row, sample, answer in came], settings)
                yield fresh
                on(len(fresh))

    def _answers(
        self, transport: Transport, jobs: deque[Job], problems: Sequence[Problem], settings: SamplingSettings
    ) -> Iterator[list[tuple[int, int, Completion]]]:
        """(row, sample, answer) of all jobs as they come, as many requests at once as are allowed."""
        waiting: dict[Future[list[Completion]], Job] = {}
        failed: dict[int, Exception] = {}
        streak: set[int] = set()
        patience = min(FAILED_PROBLEMS, len(jobs))
        while jobs or waiting:
            while jobs and len(waiting) < self.server.concurrency:
                row, samples = self._next(jobs)
                if row not in failed:
                    work = self._request(transport, problems[row], samples[0], len(samples), settings)
                    waiting[transport.submit(work)] = row, samples
            came: list[tuple[int, int, Completion]] = []
            broken: BaseException | None = None
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                row, samples = waiting.pop(future)
                error = future.exception()
                if error is None:
                    answers = future.result()
                    if len(answers) < len(samples):
                        jobs.appendleft((row, samples[len(answers) :]))
                    streak.clear()
                    came += [(row, sample, answer) for sample, answer in zip(samples, answers, strict=False)]
                elif self._takes_one_only(error, samples):
                    jobs.appendleft((row, samples))
                elif isinstance(error, Refused | Unanswered):
                    failed.setdefault(row, error)
                    streak.add(row)
                else:
                    broken = error
            if came:
                yield came
            if broken is not None:
                raise broken
            if any(_is_fatal(error) for error in failed.values()) or len(streak) >= patience > 0:
                break
        if failed:
            raise _incomplete(self.server, self.model, failed, problems)

    def _next(self, jobs: deque[Job]) -> Job:
        """The next request: no more samples than may be asked for at once; the rest stays in the queue."""
        row, samples = jobs.popleft()
        if len(samples) > self._per_request:
            jobs.appendleft((row, samples[self._per_request :]))
        return row, samples[: self._per_request]

    async def _request(
        self, transport: Transport, problem: Problem, first: int, count: int, settings: SamplingSettings
    ) -> list[Completion]:
        where, body = self.body(problem, first, count, settings)
        return await transport.ask(self.server.base + where, partial(read_completions, asked=count), body)

    def body(self, problem: Problem, first: int, count: int, settings: SamplingSettings) -> tuple[str, dict[str, Any]]:
        """(path, JSON request) for samples first..first+count-1 of a problem."""
        name = hashlib.sha256(f"{settings.hash} {problem.id} {first}".encode()).digest()
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": int.from_bytes(name[:8], "big") % SEEDS,
            **PLAIN.get(self.kind, {}),
            **({"n": count} if count > 1 else {}),
        }
        if isinstance(problem.prompt, str) and not self.server.chat:
            return "/completions", {**body, "prompt": problem.prompt}
        text = isinstance(problem.prompt, str)
        messages = [{"role": "user", "content": problem.prompt}] if text else problem.prompt
        return "/chat/completions", {**body, "messages": messages}

    def _takes_one_only(self, error: BaseException, samples: Sequence[int]) -> bool:
        """Whether the server refused to give several choices; then it is asked for one at a time from now on."""
        if not (isinstance(error, Refused) and error.status in (400, 422) and len(samples) > 1):
            return False
        if self._per_request > 1:
            self.notes.append(f"the server refused {len(samples)} choices at once ({error}): asked one by one")
        self._per_request = 1
        return True


def _listed(server: Server, transport: Transport) -> list[dict[str, Any]]:
    """The models that the server lists; one without such a list is taken by its word."""
    try:
        return transport.submit(transport.ask(f"{server.base}/models", read_models, patient=False)).result()
    except Refused as error:
        if error.status in (404, 405) and server.model:
            return [{"id": server.model}]
        raise _explained(server, error) from error
    except Unanswered as error:
        raise _explained(server, error) from error


def _choose(server: Server, listed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The model's own entry in the list. Some servers answer any name with the model that they have."""
    names = [str(card["id"]) for card in listed]
    if not server.model and len(names) == 1:
        return listed[0]
    if server.model in names:
        return listed[names.index(server.model)]
    has = f"{server.base} has {', '.join(map(repr, names[:10])) or 'no model'}{' ...' if len(names) > 10 else ''}"
    if not server.model:
        raise AdvshapeError(f"{has}; say which by its name (--model-name)")
    near = difflib.get_close_matches(server.model, names, n=1, cutoff=0.5)
    raise AdvshapeError(f"no model {server.model!r}{f'; did you mean {near[0]!r}?' if near else ''}; {has}")


def _fingerprint(card: Mapping[str, Any]) -> str:
    """What the server tells of its model; the weights themselves cannot be seen from here."""
    meta = card.get("meta") if isinstance(card.get("meta"), dict) else {}
    parts = {"root": card.get("root"), **{name: (meta or {}).get(name) for name in ("n_params", "size", "ftype")}}
    known = [f"{name} {value}" for name, value in parts.items() if value not in (None, card["id"])]
    return ", ".join([f"served as {card['id']}", *known])


def _version(server: Server, kind: str, transport: Transport) -> str:
    """The server's version where it tells one."""
    root = server.base.removesuffix("/v1")
    for path, name in VERSIONS.get(kind, ()):
        try:
            said = transport.submit(transport.ask(root + path, dict, retries=0)).result()
        except (Refused, Unanswered, TypeError):
            continue
        if said.get(name):
            return str(said[name])
    return "version not told"


def _unknown_kind(server: Server) -> str:
    return (
        f"{server.base} does not say that it is vLLM, SGLang or llama.cpp: filters of its own (top-k, min-p,"
        " penalties) may act, which plain sampling does not have"
    )


def _is_fatal(error: Exception) -> bool:
    return isinstance(error, Unreachable) or (isinstance(error, Refused) and error.status in FATAL)


def _incomplete(
    server: Server, model: str, failed: Mapping[int, Exception], problems: Sequence[Problem]
) -> AdvshapeError:
    """Why rollouts are missing: the server as a whole, or some problems."""
    for error in failed.values():
        if _is_fatal(error):
            return _explained(server, error, model)
    row, error = next(iter(failed.items()))
    others = f" (and {len(failed) - 1} other problems)" if len(failed) > 1 else ""
    return SamplingFailed(f"{server.base} gave no answer to problem {problems[row].id!r}{others}: {error}")


def _explained(server: Server, error: Exception, model: str = "") -> AdvshapeError:
    """The error in the words of someone who set the server up."""
    if isinstance(error, Unreachable):
        return SamplingFailed(f"cannot reach {server.base}: {error}; is the server running, is the address right?")
    if isinstance(error, Refused) and error.status in (401, 403):
        where = f"the key in {server.key_variable}" if server.key_variable else "requests without an API key"
        hint = "" if server.key_variable else "; name the environment variable that holds it (--api-key-variable)"
        return SamplingFailed(f"{server.base} refuses {where}: {error}{hint}")
    if isinstance(error, Refused) and error.status in (404, 405):
        what = f"the model {model!r} or this endpoint" if model else "a list of models; name one (--model-name)"
        return SamplingFailed(f"{server.base} does not have {what}: {error}")
    return SamplingFailed(f"{server.base} gave no answer: {error}")
