"""Which objective and which prompts, when? History, prioritised sampling, schedules, adaptive rules."""
