"""Statistics of pass@k: curves, intervals, tests, extrapolation, power."""
