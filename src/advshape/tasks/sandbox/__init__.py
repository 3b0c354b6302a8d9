"""How is a model's program run without harm? Judged apart from everything else on the machine.

Start at `host`. What runs inside is in `inside`.
"""
