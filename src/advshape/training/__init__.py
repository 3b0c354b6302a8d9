"""Recipe (TOML) → TRL run with our advantages → run directory.  See ``recipe``, ``plan`` and ``run``."""
