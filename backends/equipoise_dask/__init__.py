"""Sketches and least squares of dask arrays: data larger than memory, or on more than one machine.

Only what is a sum over blocks of rows is here: a pass over the data is one graph and one ``compute`` on whatever
scheduler is active, and what comes back is as small as the answer. :func:`equipoise.sketch.lstsq` imports this package
when it meets a dask array, so that nobody else needs dask.
"""

from .lstsq import lstsq
from .passes import DaskPasses, sketch

__all__ = ["DaskPasses", "lstsq", "sketch"]
