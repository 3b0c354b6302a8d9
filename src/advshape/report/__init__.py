"""Runs and comparisons as pictures and as one self-contained HTML page."""
