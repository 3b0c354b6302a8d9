"""What an OpenAI-compatible server answers, read strictly: half an answer is an error, never an empty rollout."""

from __future__ import annotations

from typing import Any

from advshape.evaluation.sampling.engine import Completion

__all__ = ["read_completions", "read_models"]

ENDED = ("stop", "eos", "eos_token", "stop_sequence")
REFUSED = "the server ended the answer with"
TRUNCATED = "length"
LOST = ("abort", "error", "cancelled")
"""Reasons to finish with which a server says that it lost the request, not that the model came to an end."""


def read_completions(answer: Any, asked: int) -> list[Completion]:
    """1 to `asked` completions of one answer, from the completions or the chat endpoint.

    The number of tokens is that of `usage` when one was asked for and not known (0) otherwise: servers differ in
    what they count there for several. Raises ValueError that names what is missing or wrong.

    >>> choice = {"index": 0, "text": "1+2", "finish_reason": "stop"}
    >>> read_completions({"choices": [choice], "usage": {"completion_tokens": 4}}, asked=1)
    [Completion(text='1+2', tokens=4, ended=True, refused='', reasoning='')]
    """
    choices = _get(answer, "choices", list)
    if not choices:
        raise ValueError("'choices' is empty")
    if len(choices) > asked:
        raise ValueError(f"{len(choices)} choices, asked for {asked}")
    if any(not isinstance(choice, dict) for choice in choices):
        raise ValueError("a choice is no JSON object")
    usage = answer.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) and asked == 1 else 0
    known = tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens > 0 else 0
    return [_completion(choice, known) for choice in choices]


def read_models(answer: Any) -> list[dict[str, Any]]:
    """The models that a server lists; each has an "id"."""
    models = _get(answer, "data", list)
    for model in models:
        _get(model, "id", str)
    return models


def _completion(choice: dict[str, Any], tokens: int) -> Completion:
    finish = _get(choice, "finish_reason", str)
    if finish in LOST:
        raise ValueError(f"'finish_reason' is {finish!r}")
    text, reasoning = _text(choice)
    ended = finish in ENDED
    refused = "" if ended or finish == TRUNCATED else f"{REFUSED} {finish!r}"
    return Completion(text, tokens, finish != TRUNCATED, refused, reasoning)


def _text(choice: dict[str, Any]) -> tuple[str, str]:
    """(text, reasoning); a message without content is one that has only reasoned, refused or called a tool."""
    if "message" not in choice:
        return _get(choice, "text", str), ""
    message = _get(choice, "message", dict)
    if "content" not in message:
        raise ValueError("'content' is missing")
    content = message["content"]
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise ValueError(f"'content' is {type(content).__name__}, expected text")
    thought = message.get("reasoning_content") or message.get("reasoning")
    return content, thought if isinstance(thought, str) else ""


def _get(found: Any, name: str, kind: type) -> Any:
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, got {type(found).__name__}")
    if name not in found:
        error = found.get("error")
        raise ValueError(f"{name!r} is missing" + (f"; it says: {error}" if error else ""))
    if not isinstance(found[name], kind):
        raise ValueError(f"{name!r} is {type(found[name]).__name__}, expected {kind.__name__}")
    return found[name]
