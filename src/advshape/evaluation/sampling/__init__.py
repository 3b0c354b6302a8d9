"""Sample rollouts from a model or a server, verify them, write a rollout log."""
