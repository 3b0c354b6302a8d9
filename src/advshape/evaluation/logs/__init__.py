"""What was sampled and judged? Rollout logs as JSON Lines, written and read line by line.

Start at `rollout_log`.
"""
