"""Plotly specifications of the charts on a page."""
