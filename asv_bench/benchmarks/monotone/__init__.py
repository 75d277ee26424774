"""Finite sums, games and linear programs."""
