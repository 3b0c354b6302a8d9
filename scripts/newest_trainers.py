"""What changed in the newest version of each trainer, and do our adapters still serve it? For a scheduled run.

`make test-newest`, or `python scripts/newest_trainers.py skyrl tunix`: beside each environment of `make test-adapters`
one with the newest version of the trainer is made. Names and tables at n = 8 are compared; then the adapter's tests run
there, which also say what changed in signatures. Exit code 1 where a test fails.
"""

import os
import subprocess
import sys
from pathlib import Path

from advshape.audit.names import TRAINERS
from advshape.audit.run import TargetFailed, audit, estimators
from advshape.errors import AdvshapeError

ROOT = Path(__file__).parents[1]
UV = [sys.executable, "-m", "uv"]


def python(folder):
    return str(ROOT / folder / "bin" / "python")


def make(name):
    """An environment with all that is pinned, but the trainer itself in its newest version; its Python."""
    pinned, newest = python(f".venv-{name}"), python(f".venv-newest-{name}")
    subprocess.run([*UV, "venv", "-q", "--clear", "--python", pinned, ROOT / f".venv-newest-{name}"], check=True)
    install = [*UV, "pip", "install", "-q", "--python", newest, "--no-deps"]
    subprocess.run([*install, "-r", ROOT / f"tests/adapters/environments/{name}.txt"], check=True)
    subprocess.run([*install, "--upgrade", TRAINERS[name][0]], check=True)
    subprocess.run([*install, "-e", ROOT], check=True)
    return pinned, newest


def version(name, interpreter):
    code = f"import importlib.metadata as m; print(m.version({TRAINERS[name][0]!r}))"
    return subprocess.run([interpreter, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def table(target, interpreter):
    """The table at n = 8 and what is said of it, or why there is none."""
    try:
        found = audit(target, [8], python=interpreter)[0]
    except (AdvshapeError, TargetFailed) as error:
        return str(error)
    rounded = [[round(x, 6) for x in found[side] or []] for side in ("positive", "negative")]
    return f"A+ {rounded[0]}, A- {rounded[1]} ({found['nearest']})"


def compare(name, pinned, newest):
    """Lines that say what changed in the trainer's own estimators."""
    try:
        before, after = (set(estimators(name, python=p)) for p in (pinned, newest))
    except (AdvshapeError, TargetFailed) as error:
        return [f"  estimators could not be listed: {error}"]
    lines = [f"  gone: {x}" for x in sorted(before - after)] + [f"  new: {x}" for x in sorted(after - before)]
    for estimator in sorted(before & after):
        old, new = (table(f"{name}:{estimator}", p) for p in (pinned, newest))
        lines += [f"  {estimator}:\n    was {old}\n    is  {new}"] if old != new else []
    return lines


def main(names):
    failed = []
    for name in names:
        pinned, newest = make(name)
        old, new = version(name, pinned), version(name, newest)
        print(f"{name}: {old} -> {new}", flush=True)
        if old != new:
            print("\n".join(compare(name, pinned, newest) or ["  the same names and tables"]), flush=True)
        tests = [newest, "-m", "pytest", "-q", f"tests/adapters/test_{name}.py"]
        if subprocess.run(tests, cwd=ROOT, env={**os.environ, "ADVSHAPE_ANY_VERSION": "1"}).returncode:
            failed.append(f"{name} {new}")
    print(f"adapters that fail: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or sorted(TRAINERS.keys() - {"trl"})))
