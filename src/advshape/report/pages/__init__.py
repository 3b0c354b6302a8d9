"""Self-contained HTML pages: a run, a comparison, a derivation."""
