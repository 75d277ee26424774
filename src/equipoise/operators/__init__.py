"""Linear operators: what a method asks of a matrix that it never looks into.

A method calls ``matvec`` and ``rmatvec`` on vectors of shape ``(..., n)``; leading axes are batch axes, of the
operator's numbers too. The operators here are records: they cross ``with equipoise.backend(...)``, are pytrees under
jax, are stored by ``equipoise.save``, and are differentiable in their numbers. ``A @ x`` is the matrix product as numpy
means it: a matrix of shape ``(..., m, k)`` holds vectors in its columns. Only a :class:`Stencil` has vectors of another
shape, that of its grid.
"""

from .convert import as_operator
from .csr import CSR
from .dense import Dense
from .kronecker import Kronecker
from .protocol import LinearOperator, StoredOperator
from .stencil import Stencil

__all__ = ["CSR", "Dense", "Kronecker", "LinearOperator", "Stencil", "StoredOperator", "as_operator"]
