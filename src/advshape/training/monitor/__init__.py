"""How is the run doing? Progress, warning signs, and `advshape watch`.

Start at `watch`.
"""
