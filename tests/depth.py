"""How deep the campaigns go: every seed, kill point and load, or a part of them.

Each claim is tested in full on one version of Airflow; in the environments of the others ``TEST_DEPTH=short`` runs
every test too, but the campaigns among them with fewer repetitions.
"""

from __future__ import annotations

import os

SHORT = os.environ.get("TEST_DEPTH", "full") == "short"


def depth(full: int, short: int) -> int:
    """Return how often a campaign repeats its check.

    :param full: by default.
    :param short: with ``TEST_DEPTH=short``.
    """
    return short if SHORT else full
