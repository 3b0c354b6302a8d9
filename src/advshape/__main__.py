"""``python -m advshape``: the command line."""

from advshape.cli import main

raise SystemExit(main())
