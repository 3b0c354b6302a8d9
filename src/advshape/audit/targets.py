"""`verl:grpo`, `rules.py:mine`, `module:function` -> a rule where it lies, ready to be called in this process."""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

from advshape.audit import trainers
from advshape.audit.names import TRAINERS
from advshape.audit.shapes import parameters, shaped
from advshape.audit.target import Target, documentation
from advshape.errors import AdvshapeError

__all__ = ["load", "names"]

Found = TypeVar("Found")


def load(name: str, signature: str | None = None, paths: Sequence[str] = ()) -> Target:
    """The target called `name`.

    name: `verl:NAME`, `skyrl:NAME`, `swift:NAME`, `openrlhf:NAME`, `tunix:NAME`, each with options after a comma
    (`verl:grpo,norm_adv_by_std_in_grpo=false`); `trl:scale_rewards=batch`; `path/to/file.py:function`;
    `module:function`, with what the function also takes after a comma (`passk.py:advantage,K=4`, or
    `config.K=4` where it stands in its config).
    signature: how a function of one's own is called, one of `known.SHAPES` (default: "verl" if it takes
    `token_level_rewards`, else "groups").
    paths: folders in which modules are looked for, after the installed ones.
    Raises AdvshapeError where the trainer is missing, or does not have the name, the option or the signature.
    """
    scheme, _, rest = name.rpartition(":") if ".py:" in name else name.partition(":")
    sys.path.extend(path for path in paths if path not in sys.path)
    if scheme in TRAINERS:
        if signature is not None:
            raise AdvshapeError(f"--signature is for functions of your own; {scheme}'s is known")
        word, *pairs = [part.strip() for part in rest.split(",")]
        return _known_version(scheme, lambda: trainers.LOADERS[scheme](name, word, pairs))
    return _own(name, scheme, rest, signature)


def names(scheme: str) -> list[str]:
    """The advantage rules that the installed trainer `scheme` has, by its own registry."""
    return _known_version(scheme, lambda: trainers.NAMES[scheme](trainers.module(scheme)))


def _known_version(scheme: str, ask: Callable[[], Found]) -> Found:
    try:
        return ask()
    except (AttributeError, ImportError) as error:
        raise AdvshapeError(
            f"{trainers.version(scheme)} does not have its advantages where they were ({error}): this version is not "
            "known yet"
        ) from error


def _own(name: str, where: str, rest: str, signature: str | None) -> Target:
    function, *pairs = [part.strip() for part in rest.split(",")]
    module: Any = None
    try:
        module = _file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        found = module
        for part in function.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # the module is the user's: it may do anything as it is imported
        why = f"{type(error).__name__}: {error}".split("\n")[0]
        raise AdvshapeError(
            f"no advantage function {name!r} ({why}){_functions(module, function)}; write module:function, as in "
            "rules:mine for rules.py, or path/to/rules.py:mine"
        ) from error
    if not callable(found):
        raise AdvshapeError(f"{name} is no function but of type {type(found).__name__}")
    given, guessed = _constants(pairs), signature is None
    if signature is None:
        signature = "verl" if "token_level_rewards" in parameters(found) else "groups"
    if signature == "verl":
        config = {key.removeprefix("config."): given.pop(key) for key in list(given) if key.startswith("config.")}
        rule = shaped(found, signature, config=SimpleNamespace(**{"gamma": 1.0, "lam": 1.0, **config}), **given)
    else:
        rule = shaped(partial(found, **given) if given else found, signature)
    version, told = _file_version(module), documentation(found)
    return Target(name, version, function, told, rule, shape=signature, guessed=guessed)


def _functions(module: Any, word: str) -> str:
    """', did you mean ...?' or which functions of its own the module has; nothing where it could not be imported."""
    if module is None:
        return ""
    own = [
        name
        for name, found in vars(module).items()
        if inspect.isfunction(found) and found.__module__ == module.__name__ and not name.startswith("_")
    ]
    close = difflib.get_close_matches(word, own, n=1)
    if close:
        return f", did you mean {close[0]!r}?"
    shown = ", ".join(own[:20]) + (", ..." if len(own) > 20 else "")
    return f"; it has {shown}" if own else "; it has no function of its own"


def _file_version(module: ModuleType) -> str:
    """The file that the rule stands in, by its name and the start of its SHA-256."""
    path = Path(inspect.getsourcefile(module) or "")
    return f"{path.name} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]})" if path.is_file() else ""


def _constants(pairs: Sequence[str]) -> dict[str, Any]:
    """`k=4` words as keyword arguments: numbers, truth values, strings. `config.k=4` is for its config's attribute."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = (word.strip() for word in pair.partition("="))
        if not key.removeprefix("config.").isidentifier() or not equals:
            raise AdvshapeError(f"write function,name=value for what the function also takes; got {pair!r}")
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[key] = text
    return found


def _file(path: Path) -> ModuleType:
    """The module in this file; one inside a package is imported as a part of it."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    path = path.resolve()
    root, dotted = path.parent, [path.stem]
    while (root / "__init__.py").is_file():
        root, dotted = root.parent, [root.name, *dotted]
    sys.path.insert(0, str(root))
    if len(dotted) > 1:
        return importlib.import_module(".".join(dotted))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
