"""Runs one audit where the target lies: `python child.py REQUEST`, in the interpreter that has the trainer.

Found by path, so that nothing but this package comes into the target's environment. It reads a JSON request and writes
a JSON answer beside it; what the target prints goes to the standard streams.
"""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any


def _package() -> None:
    """Make this very copy of advshape importable, and nothing that lies beside it."""
    folder = Path(__file__).resolve().parents[1]
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [path for path in sys.path if str(Path(path or ".").resolve()) != here]
    spec = importlib.util.spec_from_file_location(
        "advshape", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["advshape"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["advshape"])


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from advshape.audit.examine import examine, probe
    from advshape.audit.targets import load, names
    from advshape.errors import AdvshapeError

    try:
        if request.get("names"):
            return {"names": names(request["target"])}
        target = load(request["target"], request["signature"], request["paths"])
        target = dataclasses.replace(target, name=request["shown"])
        return {"data": [examine(target, probe(target, n)) for n in request["sizes"]]}
    except AdvshapeError as error:
        return {"error": str(error)}


def main() -> None:
    """The request's file is the one argument; the answer stands beside it."""
    if sys.version_info < (3, 11):  # noqa: UP036 - any interpreter may be given
        raise SystemExit(f"advshape needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}")
    request = Path(sys.argv[1])
    _package()
    answer = _answer(json.loads(request.read_text(encoding="utf-8")))
    request.with_name("answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
