"""What do I want to maximise? Surrogate rewards F(rho): the protocol, the literature, formulas, regularisation."""
