"""What do counts say, and how surely? Curves, intervals, tests, extrapolation, power.

Start at `curves`.
"""
