"""How does a recipe become a trained model? Recipe (TOML) -> TRL run -> run directory.

Start at `run`, readable top to bottom. `recipe` checks first, `rundir` writes and resumes, `monitor` watches.
"""
