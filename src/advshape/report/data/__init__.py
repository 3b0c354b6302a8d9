"""What stands in a report? Read from runs and logs, bounded and cleaned; nothing here knows HTML.

Start at `run`.
"""
