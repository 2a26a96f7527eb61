"""The simulator's options: those of its own command, and of ``simulate`` of the provider's command line.

Nothing heavy is imported here: every start of ``airflow`` reads this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DEFAULT_API_KEY = "simulator-key"

OPTIONS: Sequence[tuple[str, Mapping[str, Any]]] = (
    ("--port", {"type": int, "default": 8400, "help": "TCP port, 0 for a free one (default: %(default)s)"}),
    ("--host", {"default": "127.0.0.1", "help": "address to listen on (default: %(default)s)"}),
    ("--tls", {"action": "store_true", "help": "serve HTTPS by a CA of its own"}),
    (
        "--tls-name",
        {"action": "append", "default": [], "metavar": "NAME", "help": "further host name of the certificate"},
    ),
    (
        "--ca-file",
        {
            "type": Path,
            "metavar": "FILE",
            "help": "where the CA is kept, its private key beside it in FILE.key; used again at the next start "
            "(default: beside the file of --state, else a file that lasts as long as the server)",
        },
    ),
    ("--state", {"type": Path, "metavar": "FILE", "help": "keep the state in this file over restarts"}),
    (
        "--job-seconds",
        {"type": float, "default": 2.0, "metavar": "S", "help": "how long a job is processed (default: %(default)s)"},
    ),
    ("--api-key", {"default": DEFAULT_API_KEY, "metavar": "KEY", "help": "the key to accept (default: %(default)s)"}),
)
"""Each option with its settings, as ``argparse`` takes them."""
