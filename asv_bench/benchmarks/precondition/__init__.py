"""Preconditioners and optimizers."""
