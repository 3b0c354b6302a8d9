"""What stands in a report, read from a run or from logs, bounded and cleaned."""
