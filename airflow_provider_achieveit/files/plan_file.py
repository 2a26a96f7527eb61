"""A plan's file while it grows: in private, where nobody can see it, and nothing of it outlives the task."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any

from airflow_provider_achieveit.files.formats import FileFormat
from airflow_provider_achieveit.files.place import Place
from airflow_provider_achieveit.files.writers import PlanWriter, writer_of


class PlanFile:
    """Takes the items of a plan, page by page; a context manager.

    They go to a file without a name on this machine, in the directory for temporary files; :meth:`put` moves it as a
    whole to where it is wanted.

    :param file_format: how the items are written.
    :param plan_id: the plan.
    :param unescape_html: turn HTML entities in plain-text fields back into characters.
    :raises ImportError: the format needs a package that is not installed; the message names the extra.
    """

    def __init__(self, file_format: FileFormat, plan_id: str, *, unescape_html: bool) -> None:
        self.make_writer = writer_of(file_format)
        self.plan_id, self.unescape_html = plan_id, unescape_html
        self.staged: IO[bytes] | None = None
        self.writer: PlanWriter | None = None

    def __enter__(self) -> PlanFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def begin(self, extracted_at: datetime) -> None:
        """Forget all that was taken; a read begins at this moment."""
        self._drop()
        self.staged = TemporaryFile(prefix="achieveit-plan-")  # noqa: SIM115
        self.writer = self.make_writer(
            self.staged, plan_id=self.plan_id, extracted_at=extracted_at, unescape_html=self.unescape_html
        )

    def add(self, items: list[dict[str, Any]]) -> None:
        """Take the items of one page."""
        if not self.writer:
            raise RuntimeError("begin() comes before add()")
        self.writer.write(items)

    def put(self, place: Place) -> int:
        """Move the file, as a whole, to its place; return its size in bytes.

        :param place: where it goes; what is there is replaced.
        :raises PlaceRefusedError: it cannot be written there; what was there stays.
        """
        if not self.writer or not self.staged:
            raise RuntimeError("begin() comes before put()")
        self.writer.close()
        size = self.staged.seek(0, 2)
        place.put(self.staged)
        return size

    def _drop(self) -> None:
        if self.writer:
            # Arrow's would write its footer later, when nobody holds it any more, into a file that is closed.
            with suppress(Exception):
                self.writer.close()
        if self.staged:
            self.staged.close()
        self.staged = self.writer = None
