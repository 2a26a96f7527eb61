"""Where a file goes: written beside its place, then moved there, so that nobody ever reads half of it."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_CHUNK = 4 * 1024 * 1024
_LASTING = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
"""What a retry would meet again; a full disk or a lost connection passes."""


class PlaceRefusedError(Exception):
    """A file cannot be written there; the message says what to change."""


class Place:
    """A file's place in a file system.

    :param fs: the file system, as fsspec has it.
    :param path: the file in it.
    :param told: the file for messages.
    """

    def __init__(self, fs: Any, path: str, told: str) -> None:
        self.fs, self.told = fs, told
        self.path = str(fs._strip_protocol(path))
        self.is_local = bool(getattr(fs, "local_file", False))

    def prepare(self) -> None:
        """See to it, before any work is done, that the file can be written; local directories are made.

        :raises PlaceRefusedError: it cannot.
        """
        with self._refusal_told():
            if self.is_local:
                there = Path(self.path)
                if there.exists() and not (there.is_file() or there.is_dir()):
                    raise FileExistsError("it is a device or a pipe, which a file would take the place of")
                # A link stays one, and what it leads to is replaced.
                self.path = os.path.realpath(there)
                parent = Path(self.path).parent
                parent.mkdir(parents=True, exist_ok=True)
                if not os.access(parent, os.W_OK | os.X_OK):
                    raise PermissionError(f"no right to write into {parent}")
            # Whoever may write to a store, but not list it, is not told; there, a directory is only a manner of names.
            with suppress(PermissionError):
                if self.fs.isdir(self.path):
                    raise IsADirectoryError("it is a directory")

    def put(self, staged: IO[bytes]) -> None:
        """Put a finished file into the place of whatever is there.

        Local files, and stores that can rename, never show anything but the old file whole or the new one whole. In
        object stores the move is a copy inside the store, whose end makes the new object visible as a whole.

        :param staged: the file, open for reading; it is read from its beginning.
        :raises PlaceRefusedError: it cannot be written there; what was there stays.
        """
        parent, slash, name = self.path.rpartition("/")
        part = f"{parent}{slash}.{name}.{secrets.token_hex(8)}.part"
        with self._refusal_told():
            try:
                self._copy(staged, part)
                if self.is_local:
                    Path(part).replace(self.path)
                else:
                    self._move(part)
            except BaseException:
                # What hindered the writing may hinder this too, and is what has to be told.
                with suppress(Exception):
                    self.fs.rm_file(part)
                raise

    def _move(self, part: str) -> None:
        from fsspec.spec import AbstractFileSystem

        if glob.escape(part) != part and type(self.fs).mv is AbstractFileSystem.mv:
            # A name with *, ? or [ would be a pattern to it: at best one that nothing fits, at worst a directory's.
            self.fs.cp_file(part, self.path)
            self.fs.rm_file(part)
        else:
            self.fs.mv(part, self.path)

    def _copy(self, staged: IO[bytes], part: str) -> None:
        staged.seek(0)
        with self.fs.open(part, "wb") as beside:
            shutil.copyfileobj(staged, beside, _CHUNK)
            if self.is_local:
                # Else a machine that loses power could keep the new name without its content.
                beside.flush()
                os.fsync(beside.fileno())

    @contextmanager
    def _refusal_told(self) -> Iterator[None]:
        try:
            yield
        except _LASTING as error:
            raise PlaceRefusedError(f"The file {self.told} cannot be written: {error}. Nothing was changed.") from error
