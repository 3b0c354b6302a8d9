"""What does that rule really optimize? Any advantage function: its table, its objective, its name.

Start at `reversal`. `call` calls it safely, `measure` separates a count table from everything else, `mean` averages
random rules; `nearest`, `match` and `fit` name the table; `record` is the result as data.
"""
