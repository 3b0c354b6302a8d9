"""Templates to one self-contained file: Jinja2 with autoescape, inlined scripts, a policy that forbids the network.

Completions are hostile text. They reach a page only through autoescape or as JSON in which "<" is escaped, the
page's scripts show them with `textContent` alone, and a content security policy allows no script but the page's
own and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from advshape.errors import AdvshapeError
from advshape.report.data.text import to_script_json, visible

__all__ = ["CITATION", "asset", "render_template", "sha256", "write_new"]

CITATION = """@article{thrampoulidis2025advantage,
  title   = {Advantage Shaping as Surrogate Reward Maximization: Unifying Pass@K Policy Gradients},
  author  = {Thrampoulidis, Christos and Mahdavi, Sadegh and Deng, Wenlong},
  journal = {arXiv preprint arXiv:2510.23049},
  year    = {2025}
}"""
SCRIPTS = ("text.js", "charts.js", "rollouts.js", "page.js")


def render_template(name: str, payload: Mapping[str, Any], **context: Any) -> str:
    """The page of one template; `payload` is what its scripts read (charts, sources, reasons)."""
    try:
        import jinja2
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        more = 'pip install "advshape[trl]"'
        raise AdvshapeError(f"a report needs more packages: {more} ({error.name} is missing)") from error
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [get_plotlyjs(), *map(asset, SCRIPTS)]
    return environment.get_template(name).render(
        **context,
        citation=CITATION,
        css=Markup(asset("page.css")),
        payload=Markup(to_script_json(payload)),
        scripts=[Markup(script) for script in scripts],
        script_hashes=" ".join(f"'sha256-{sha256(script)}'" for script in scripts),
    )


def write_new(path: str | os.PathLike[str], text: str, overwrite: bool) -> Path:
    """Write a whole file or nothing, and return its path. Raises AdvshapeError for a file that is there."""
    file = check_free(path, overwrite)
    part = file.with_name(file.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(file)
    return file


def check_free(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """The path, when it may be written: its folder exists, and no file is there or it may be replaced."""
    file = Path(path)
    if not file.parent.is_dir():
        raise AdvshapeError(f"the folder {file.parent} does not exist; make it first")
    if file.is_dir():
        raise AdvshapeError(f"{file} is a folder; name a file")
    if file.exists() and not overwrite:
        raise AdvshapeError(f"{file} exists; choose another name, or replace it with --overwrite (overwrite=True)")
    return file


def asset(name: str) -> str:
    """A text file of this package."""
    return resources.files("advshape.report.pages").joinpath(name).read_text(encoding="utf-8")


def sha256(text: str) -> str:
    """Base64 SHA-256, as content security policies write it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
