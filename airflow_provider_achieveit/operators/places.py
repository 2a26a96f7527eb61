"""From an operator's arguments to the place of a file: object stores are opened here, with Airflow's connections."""

from __future__ import annotations

from pathlib import Path

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_achieveit.files.place import Place


def object_path(path: str, path_conn_id: str | None = None) -> ObjectStoragePath:
    """Return a path on this machine, or in an object store.

    :param path: as ``ObjectStoragePath`` has it; a relative one is of the working directory.
    :param path_conn_id: Airflow connection of the store; None or empty: none.
    :raises ImportError: the provider package of the store is not installed.
    :raises ValueError: the store cannot be used.
    """
    # Airflow 2.11 takes a relative path from the root of the file system.
    return ObjectStoragePath(path if "://" in path else str(Path(path).absolute()), conn_id=path_conn_id or None)


def place_of(path: str, path_conn_id: str | None) -> Place:
    """Return the place of a file, here or in an object store.

    :param path: the file, as ``ObjectStoragePath`` has it.
    :param path_conn_id: Airflow connection of the store; None or empty: none.
    :raises ValueError: the store cannot be used.
    """
    try:
        found = object_path(path, path_conn_id)
        return Place(found.fs, found.path, path)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"path {path!r} cannot be used: {error}. Is the provider package of its store installed?"
        ) from error
