"""Sketches and least squares."""
