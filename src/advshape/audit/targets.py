"""`verl:grpo`, `rules.py:mine`, `module:function` -> a rule where it lies, ready to be called in this process."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

from advshape.audit import trainers
from advshape.audit.shapes import shaped
from advshape.audit.target import Target, documentation
from advshape.errors import AdvshapeError

__all__ = ["load", "names"]


def load(name: str, signature: str | None = None, paths: Sequence[str] = ()) -> Target:
    """The target called `name`.

    name: `verl:NAME`, `skyrl:NAME`, `swift:NAME`, `openrlhf:NAME`, `tunix:NAME`, each with options after a comma
    (`verl:grpo,norm_adv_by_std_in_grpo=false`); `trl:scale_rewards=batch`; `path/to/file.py:function`;
    `module:function`. signature: how a function of one's own is called, one of `shapes.SHAPES` (default "groups").
    paths: folders in which modules are looked for, after the installed ones.
    Raises AdvshapeError where the trainer is missing, or does not have the name, the option or the signature.
    """
    scheme, _, rest = name.rpartition(":") if ".py:" in name else name.partition(":")
    sys.path.extend(path for path in paths if path not in sys.path)
    if scheme in trainers.TRAINERS:
        if signature is not None:
            raise AdvshapeError(f"--signature is for functions of your own; {scheme}'s is known")
        word, *pairs = [part.strip() for part in rest.split(",")]
        return trainers.LOADERS[scheme](name, word, pairs)
    return _own(name, scheme, rest, signature or "groups")


def names(scheme: str) -> list[str]:
    """The advantage rules that the installed trainer `scheme` has, by its own registry."""
    return trainers.NAMES[scheme](trainers.module(scheme))


def _own(name: str, where: str, function: str, signature: str) -> Target:
    try:
        module = _file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        found = module
        for part in function.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # the module is the user's: it may do anything as it is imported
        why = f"{type(error).__name__}: {error}".split("\n")[0]
        raise AdvshapeError(
            f"no advantage function {name!r} ({why}); write module:function, as in rules:mine for rules.py, or "
            "path/to/rules.py:mine"
        ) from error
    if not callable(found):
        raise AdvshapeError(f"{name} is a {type(found).__name__}, no function")
    constants = {"config": SimpleNamespace(gamma=1.0, lam=1.0)} if signature == "verl" else {}
    return Target(name, "", function, documentation(found), shaped(found, signature, **constants))


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    sys.path.append(str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
