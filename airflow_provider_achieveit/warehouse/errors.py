"""Why a load was refused. Nothing was written when one of these is raised."""

from __future__ import annotations


class WarehouseError(Exception):
    """The load cannot be done as it was asked for; the message says what to change."""


class TableMismatchError(WarehouseError):
    """A table or schema of the warehouse cannot take the rows, or is of another mode."""


class NewerStateError(WarehouseError):
    """A state that was read later is in the warehouse already."""


class TooManyDeletesError(WarehouseError):
    """More items are gone than ``max_delete_ratio`` allows."""
