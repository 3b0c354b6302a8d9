"""Extras, device and sandbox of this machine; nothing heavy is imported into this process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from advshape.doctor.finding import Finding
from advshape.errors import AdvshapeError
from advshape.tasks.process import run_python

__all__ = ["ask_python", "device", "extras", "sandbox"]

TRAINER_EXTRAS = ("trl", "verl")  # the trainers' own lines tell of them


def extras() -> Iterator[Finding]:
    """One line for each extra of the package: its packages and their versions, or what is missing."""
    if installed("advshape") is None:
        text = "runs from its source alone, so that no trainer finds its entry point; pip install it here"
        yield Finding("problem", "advshape", text)
        return
    wanted: dict[str, list[str]] = {}
    for requirement in requires("advshape") or []:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        if found := re.search(r"extra == ['\"](\w+)['\"]", requirement):
            wanted.setdefault(found[1], []).append(name)
    for extra, names in wanted.items():
        if extra in TRAINER_EXTRAS:
            continue
        have = {name: installed(name) for name in names}
        missing = [name for name, found in have.items() if found is None]
        if missing:
            text = f"without {', '.join(missing)}; pip install 'advshape[{extra}]'"
            yield Finding("absent", f"extra {extra}", text)
        else:
            yield Finding("ok", f"extra {extra}", ", ".join(f"{name} {found}" for name, found in have.items()))


def installed(distribution: str) -> str | None:
    """The version of a distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def ask_python(code: str, seconds: float) -> tuple[dict[str, object] | None, str]:
    """What `code` prints last, as JSON, run in a process of its own; or None and why not."""
    done = run_python(["-W", "ignore", "-c", code], seconds)
    if done.code is None:
        return None, f"no answer within {seconds:g} seconds; try --seconds {2 * seconds:g}"
    try:
        return json.loads(done.output.splitlines()[-1]), ""
    except (IndexError, ValueError):
        return None, done.last_words


def device(seconds: float) -> Finding:
    """What torch would train on."""
    if installed("torch") is None:
        return Finding("absent", "device", "torch is not installed; pip install 'advshape[trl]' to train")
    code = (
        "import json, torch\nc = torch.cuda\nn = c.device_count() if c.is_available() else 0\n"
        "print(json.dumps({'names': [c.get_device_name(i) for i in range(n)], 'version': torch.__version__}))"
    )
    found, why = ask_python(code, seconds)
    if found is None:
        return Finding("problem", "device", f"torch does not import: {why}")
    names = found["names"]
    assert isinstance(names, list)
    text = ", ".join(names) or "no GPU: CPU alone (in TRL use_cpu=True, bf16=False)"
    return Finding("ok", "device", f"{text}; torch {found['version']}")


def sandbox() -> Finding:
    """Whether programs of models can be judged (tasks code and human_eval)."""
    from advshape.tasks.sandbox.host import check_sandbox

    try:
        check_sandbox()
    except AdvshapeError as error:
        return Finding("absent", "sandbox", str(error))
    return Finding("ok", "sandbox", "programs of models can be run")
