"""What does the reader open? One self-contained HTML file: a run, a comparison, a derivation.

Start at `run`.
"""
