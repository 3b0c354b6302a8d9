"""Lets the tests of one folder import their common table by name: `import hostile`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
