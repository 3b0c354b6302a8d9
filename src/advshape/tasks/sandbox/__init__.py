"""Run programs of a model and judge them, apart from everything else on the machine."""
