"""See a run while it trains: progress, warnings, watch."""
