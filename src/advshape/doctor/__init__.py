"""Is everything in place? What is installed, whether trainers know us, what a configuration changes.

Start at `trainers`. `machine` looks at packages, device and sandbox, `configuration` at verl's, `recipe` at ours.
"""
