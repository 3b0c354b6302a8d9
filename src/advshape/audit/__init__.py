"""What do other people's rules optimize? A target's name -> its rule, run where it lies -> findings.

Start at `run`: a process of its own, which `child` is. `targets` and `trainers` find the rule, `shapes` call it,
`examine` asks what its table can't show, `answer` reads the result, `page` prints it.
"""
