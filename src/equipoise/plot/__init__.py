"""Pictures of results. Each function draws on the axes it is given, or on new ones, and returns them.

matplotlib is an extra and is imported when a picture is drawn. Results may hold numpy, torch, jax or cupy arrays.
Colours come from matplotlib's settings, so that a dark style gives dark pictures.
"""

from .directed import asymmetry, embedding
from .error import convergence
from .monotone import gap, scaling, simplex
from .omega import omega_curve
from .policies import policy
from .precondition import fit, optimizer, spectrum
from .quasimetric import distances, intervals
from .sequences import sequence
from .sketch import backward_error, coordinates, sketch_comparison
from .transport import barycenters, matching, plan

__all__ = [
    "asymmetry",
    "backward_error",
    "barycenters",
    "convergence",
    "coordinates",
    "distances",
    "embedding",
    "fit",
    "gap",
    "intervals",
    "matching",
    "omega_curve",
    "optimizer",
    "plan",
    "policy",
    "scaling",
    "sequence",
    "simplex",
    "sketch_comparison",
    "spectrum",
]
