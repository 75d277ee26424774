"""The list of backends for this family: bodies that jax compiles are those of ``jax-jit``, and are compiled once."""

from ..backends import COMPILED_ONCE, in_turn

on = in_turn(COMPILED_ONCE)
