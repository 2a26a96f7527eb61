"""The gate, without a cluster."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.cluster.gate import Gate
from tests.sockets import misbehaving


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate before a server that gives back what it gets."""
    with misbehaving(_echo) as (port, _), Gate(port) as gate:
        yield gate


def _echo(connection: socket.socket) -> None:
    while data := connection.recv(100):
        connection.sendall(data)


def connect(gate: Gate) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gate.port), timeout=10)


def test_an_open_gate_lets_through(gate: Gate) -> None:
    with connect(gate) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


def test_a_refusing_gate_ends_connections_and_refuses_and_opens_again_on_the_same_port(gate: Gate) -> None:
    with connect(gate) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        gate.refuse()
        assert client.recv(100) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(gate)
    gate.open()
    test_an_open_gate_lets_through(gate)


def test_a_hanging_gate_takes_connections_and_says_nothing_until_it_opens(gate: Gate) -> None:
    gate.hang()
    with connect(gate) as client:
        client.sendall(b"hello")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(100)
        gate.open()
        client.settimeout(10)
        assert client.recv(100) == b"hello"
