"""How do our advantages get into verl? verl loads `plugin`; `options` can be read where verl is not installed.

Start at `plugin`.
"""

from __future__ import annotations

import sys

if "verl" in sys.modules:  # VERL_USE_EXTERNAL_MODULES=advshape.adapters.verl: importing this package must register
    from advshape.adapters.verl.plugin import verl_advantages as verl_advantages
