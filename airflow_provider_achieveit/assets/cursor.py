"""What a watcher saw last, kept in Airflow's asset state store (3.3 and later), else in memory."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)


class Cursor:
    """What was seen last; it survives a restart of the triggerer where Airflow can keep it.

    :param store: the trigger's ``asset_state_store``; None: Airflow has none.
    :param key: the name under which it is kept.
    """

    def __init__(self, store: Any, key: str) -> None:
        self._stores = _of_each_asset(store)
        self._key = key
        self._seen: dict[str, Any] | None = None
        self._is_read = False

    async def get(self) -> dict[str, Any] | None:
        """Return what was seen last, None if nothing ever was.

        :raises Exception: the store does not answer.
        """
        if not self._is_read:
            kept = [await store.aget(self._key) for store in self._stores]
            # An asset whose DAG was paused for a while has an older one.
            self._seen = max((seen for seen in kept if seen), key=lambda seen: seen["seen_at"], default=None)
            self._is_read = True
        return self._seen

    async def set(self, seen: dict[str, Any]) -> None:
        """Keep what was seen; where the store does not answer it is kept in memory.

        :param seen: JSON values, with the moment ``seen_at``.
        """
        self._seen, self._is_read = seen, True
        for store in self._stores:
            try:
                await store.aset(self._key, seen)
            except Exception as error:
                log.warning(
                    "What was seen last could not be kept (%s: %s): a restart may tell the last change again",
                    type(error).__name__,
                    error,
                )


def _of_each_asset(store: Any) -> list[Any]:
    """Return the stores of all assets that a trigger is for: those of equal triggers are one trigger to Airflow."""
    if store is None:
        return []
    # The documented access needs the asset, which a trigger is not told.
    return [*getattr(store, "_by_name", {}).values(), *getattr(store, "_by_uri", {}).values()]
