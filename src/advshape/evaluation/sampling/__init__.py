"""What does a model answer? Rollouts from a local model or a server, judged and written to a log.

Start at `evaluate`.
"""
