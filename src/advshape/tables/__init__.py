"""What is an estimator at group size n? The advantage table, priors, and from a surrogate to its table."""
