"""What do I want to maximize? Surrogates F(rho) of a prompt's success probability.

Start at `surrogate`: the protocol and sums. `elementary` and `literature` hold those with a name, `expression` reads
typed formulas, `integrated` starts from a population formula; `regularize` says what one adds to another.
"""
