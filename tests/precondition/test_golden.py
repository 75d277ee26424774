from __future__ import annotations

import json

import numpy as np

from .golden import FILE, kinds, wrapped


def test_trajectories_are_those_of_the_last_release() -> None:
    stored = json.loads(FILE.read_text())
    for name, found in (("kinds", kinds()), ("wrapped", wrapped())):
        assert list(found) == list(stored[name])
        for key, values in found.items():
            np.testing.assert_allclose(values, stored[name][key], rtol=1e-7, atol=1e-9, err_msg=key)
