"""Figures as files: PNG, SVG and PDF."""
