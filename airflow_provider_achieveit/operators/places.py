"""From an operator's arguments to the place of a file: object stores are opened here, with Airflow's connections."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_achieveit.files.place import Place


def place_of(path: str, path_conn_id: str | None) -> Place:
    """Return the place of a file, here or in an object store.

    :param path: the file, as ``ObjectStoragePath`` has it.
    :param path_conn_id: Airflow connection of the store; None or empty: none.
    :raises ValueError: the store cannot be used.
    """
    try:
        found = ObjectStoragePath(path, conn_id=path_conn_id or None)
        return Place(found.fs, found.path, path)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"path {path!r} cannot be used: {error}. Is the provider package of its store installed?"
        ) from error
