"""What goes into a paper? Figures as files: PNG, SVG and PDF.

Start at `curves`.
"""
