"""Runs and logs as results: pass@k curves, comparisons, differences."""
