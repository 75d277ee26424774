"""Quasimetric distances."""
