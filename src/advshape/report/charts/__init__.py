"""What does a page draw? Its charts, as Plotly specifications.

Start at `evaluation`.
"""
