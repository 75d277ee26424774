"""Relaxation, conjugate gradients, and sequences of systems."""
