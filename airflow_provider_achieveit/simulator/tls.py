"""A certificate authority and a certificate of the simulator's own, made anew at each start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def write_certificates(directory: Path, ca_file: Path, names: Sequence[str]) -> Path:
    """Write the CA's certificate and the server's key with its certificates.

    :param directory: a private directory, for the server's key.
    :param ca_file: where the CA goes; clients verify by it.
    :param names: host names and addresses that the certificate is for.
    :return: the file with the server's key and certificates.
    :raises ImportError: trustme is not installed.
    """
    try:
        import trustme
    except ImportError as error:
        raise ImportError("TLS needs trustme: pip install 'airflow-provider-achieveit[simulator]'") from error
    authority = trustme.CA(organization_name="AchieveIt simulator")
    server_file = directory / "server.pem"
    server_file.touch(mode=0o600)
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(str(server_file))
    authority.cert_pem.write_to_path(str(ca_file))
    return server_file
