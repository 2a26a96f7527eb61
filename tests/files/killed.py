"""A process that has imported everything and forks a child for every try of the file operator; the child kills itself.

Run as ``python -m tests.files.killed``; it reads a JSON line for each try: the operator's arguments, and before which
step the child ends. It answers with the child's exit code. A step is a call of one of the functions that have to do
with files by the code that writes the file or moves it; what comes after one comes before the next.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import airflow_provider_achieveit.api.client
import airflow_provider_achieveit.files.json_lines
import airflow_provider_achieveit.files.place
import airflow_provider_achieveit.files.plan_file  # noqa: F401
from airflow_provider_achieveit.operators.export import AchieveItExportPlanToFileOperator

_STEPS = frozenset(
    "open close write flush seek read readinto fsync __exit__ rename replace mkdir access stat unlink remove".split()
)
_WRITERS = ("airflow_provider_achieveit/files/", "/shutil.py", "/fsspec/implementations/local.py", "/pathlib.py")


class KillAt:
    """A profile function that ends the process at its n-th step."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, frame: FrameType, event: str, function: Any) -> None:
        of_writers = event == "c_call" and any(name in frame.f_code.co_filename for name in _WRITERS)
        if of_writers and function.__name__ in _STEPS:
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1


def in_child(arguments: dict[str, Any], step: int) -> int:
    """Return the exit code: that of the signal where the child ended itself, 0 where it came to the end."""
    child = os.fork()
    if child == 0:
        sys.setprofile(KillAt(step))
        AchieveItExportPlanToFileOperator(**arguments).execute({})
        sys.setprofile(None)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def serve() -> None:
    """Serve until the parent closes the pipe."""
    # Airflow logs to standard output; the answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warm = False
    for line in sys.stdin:
        request = json.loads(line)
        if not warm:
            # What Airflow finds out once, such as its providers, is no step of a try.
            with tempfile.TemporaryDirectory() as elsewhere:
                path = Path(elsewhere) / Path(request["arguments"]["path"]).name
                AchieveItExportPlanToFileOperator(**request["arguments"] | {"path": str(path)}).execute({})
            warm = True
        Path(request["arguments"]["path"]).parent.mkdir(exist_ok=True)
        answers.write(f"{in_child(**request)}\n")
        answers.flush()


if __name__ == "__main__":
    serve()
