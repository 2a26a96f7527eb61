"""What a killed test process leaves behind, without a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cluster.programs import ROOT, Programs, until

_STARTS_ONE_THAT_STARTS_ONE = """
import os, sys, time
from pathlib import Path
from tests.cluster.programs import Programs
with Programs(Path(sys.argv[1])) as programs:
    child = "trap '' TERM; sleep 600 & echo $! >pid.new; mv pid.new pid; wait"
    programs.start("shell", ["sh", "-c", child], os.environ)
    Path("started").touch()
    time.sleep(600)
"""


def test_a_killed_test_process_leaves_no_program_running(tmp_path: Path) -> None:
    test = subprocess.Popen(
        [sys.executable, "-c", _STARTS_ONE_THAT_STARTS_ONE, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        until((tmp_path / "pid").exists, seconds=30, what="the program runs", pause=0.05)
        # Also the guard has heard of it.
        until((tmp_path / "started").exists, seconds=30, what="it is started", pause=0.05)
        pid = int((tmp_path / "pid").read_text())
        assert psutil.pid_exists(pid)
    finally:
        test.send_signal(signal.SIGKILL)
        test.wait()
    until(lambda: not psutil.pid_exists(pid), seconds=30, what="nothing is left", pause=0.05)


def test_a_program_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Programs(tmp_path) as programs:
        program = programs.start("broken", ["sh", "-c", "echo no such thing; exit 3"], os.environ)
        with pytest.raises(AssertionError, match=r"(?s)broken has ended with code 3.*no such thing"):
            until(programs.check, seconds=10, what="it is told")
        assert program.output() == "no such thing\n"


def test_what_takes_too_long_is_told() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.1 s: the moon"):
        until(lambda: False, seconds=0.1, what="the moon", pause=0.05)
