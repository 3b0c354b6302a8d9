"""What is to be trained? A TOML file, read, checked and resolved to a plan; nothing heavy is loaded.

Start at `plan`.
"""
