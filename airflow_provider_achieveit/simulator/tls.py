"""A certificate authority of the simulator's own, kept over restarts, and a certificate made anew at each start."""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_provider_achieveit.simulator.files import write_atomically


def write_certificates(directory: Path, ca_file: Path, names: Sequence[str]) -> Path:
    """Write the server's key with its certificates, and the CA's certificate and key unless a valid pair is there.

    :param directory: a private directory, for the server's key.
    :param ca_file: where the CA is; clients verify by it. Its key stands beside it, in ``<ca_file>.key``.
    :param names: host names and addresses that the certificate is for.
    :return: the file with the server's key and certificates.
    :raises ImportError: trustme is not installed.
    :raises OSError: a file cannot be read or written.
    """
    try:
        import trustme
    except ImportError as error:
        raise ImportError("TLS needs trustme: pip install 'airflow-provider-achieveit[simulator]'") from error
    key_file = ca_file.with_name(f"{ca_file.name}.key")
    authority = _kept_authority(ca_file, key_file)
    if authority is None:
        authority = trustme.CA(organization_name="AchieveIt simulator")
        write_atomically(key_file, authority.private_key_pem.bytes())
        authority.cert_pem.write_to_path(str(ca_file))
    server_file = directory / "server.pem"
    server_file.touch(mode=0o600)
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(str(server_file))
    return server_file


def _kept_authority(ca_file: Path, key_file: Path) -> Any:
    """Return the CA of an earlier start; None where there is none, or its files do not fit together or are too old."""
    import trustme

    try:
        authority = trustme.CA.from_pem(ca_file.read_bytes(), key_file.read_bytes())
        context = ssl.create_default_context(cafile=ca_file)
        context.load_cert_chain(ca_file, key_file)
        [certificate] = context.get_ca_certs()
    except (FileNotFoundError, ssl.SSLError, ValueError):
        return None
    begin, end = (ssl.cert_time_to_seconds(str(certificate[name])) for name in ("notBefore", "notAfter"))
    return authority if begin <= time.time() < end else None
