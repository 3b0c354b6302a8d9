"""How good is a model, and how sure are we? Rollouts -> counts by prompt -> pass@k with intervals.

Start at `stats.curves`. `logs` writes and reads our own log, `readers` those of other tools, `sampling` makes one from
a model or a server, `results` compares runs.
"""
