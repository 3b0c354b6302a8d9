"""What does that rule really optimise? Probe any advantage function: its table, its surrogate, its name."""
