"""What do I want to maximize? Surrogates F(rho) of a prompt's success probability.

Start at `surrogate`: the protocol and the basic ones. `literature` holds those of papers, `expression` formulas that a
user types, `integrated` those of a population formula, `regularize` asks which is a regularized version of which.
"""
