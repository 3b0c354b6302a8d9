"""Rewards in, advantages out: numpy and torch, ragged groups, rollouts not judged, real-valued rewards."""
