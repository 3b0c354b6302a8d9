"""What is an estimator at group size n? The advantage table, and the ways from an objective to it.

Start at `table`: the table, and what it maximizes with n rollouts. `estimator` is a rule for every n, `forward` builds
one from an objective, `prior` holds what is believed of success rates.
"""
