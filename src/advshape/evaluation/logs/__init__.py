"""Rollout logs and JSON Lines: what was sampled and judged, read and written line by line."""
