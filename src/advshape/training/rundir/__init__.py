"""What does a run leave behind, and how does it go on? Written as the run goes, cut back on resume.

Start at `directory`.
"""
