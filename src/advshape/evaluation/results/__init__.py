"""What do runs say, alone and against each other? Curves, comparisons, differences.

Start at `runs`.
"""
