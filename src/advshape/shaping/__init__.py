"""How do rewards become advantages? For numpy and torch, ragged groups, and rollouts that were not judged.

Start at `advantages`. `layer_cake` takes real-valued rewards, `real` says which rule may take them.
"""
