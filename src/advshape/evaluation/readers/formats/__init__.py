"""Logs of other tools: one file per format, recognized from its content."""
