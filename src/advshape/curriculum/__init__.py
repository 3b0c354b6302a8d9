"""Which objective and which prompts, when? What changes while a model trains.

Start at `schedule`: objectives that move or come in stages; `read` reads one from a recipe. `history` remembers each
prompt, `prioritized` draws hard prompts more often, `adaptive` chooses a rule by the batch.
"""
