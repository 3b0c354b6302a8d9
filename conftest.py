"""Adapters of trainers that are not installed here have no doctests to collect: importing them needs their trainer."""

from importlib.util import find_spec

TRAINERS = ("verl",)

collect_ignore = [f"src/advshape/adapters/{name}/plugin.py" for name in TRAINERS if find_spec(name) is None]
