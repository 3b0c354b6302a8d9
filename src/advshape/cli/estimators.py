"""``advshape estimators``: the catalogue as text, as JSON or as the page docs/estimators.md."""

from __future__ import annotations

import argparse
import json
from typing import Any

from advshape.cli.console import DONE

__all__ = ["add"]


def add(commands: Any) -> None:
    """The subcommand."""
    sub = commands.add_parser("estimators", help="the catalogue, or one entry in full", allow_abbrev=False)
    sub.add_argument("name", nargs="?", metavar="NAME", help="one estimator, such as qae or 'pass_at_k(k=8)'")
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything known of each entry")
    form.add_argument("--markdown", action="store_true", help="the page docs/estimators.md")
    sub.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what was asked for."""
    from advshape.catalogue.describe import describe_catalogue, describe_entry
    from advshape.cli.estimators_page import estimators_page
    from advshape.cli.estimators_text import catalogue_text, entry_text
    from advshape.errors import AdvshapeError

    if options.name is None:
        rows = describe_catalogue()
        form = estimators_page if options.markdown else catalogue_text
        print(json.dumps(rows, indent=1) if options.json else form(rows))
    elif options.markdown:
        raise AdvshapeError("--markdown prints the page of the whole catalogue; leave the name out, or use --json")
    else:
        row = describe_entry(options.name)
        print(json.dumps(row, indent=1) if options.json else entry_text(row))
    return DONE
