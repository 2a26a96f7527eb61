from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_achieveit.api.http import MAX_RETRY_AFTER, is_loopback, retry_after_seconds, safe_redirect

NOW = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 17 ", 17),
        ("999999", MAX_RETRY_AFTER),
        ("Mon, 05 Jan 2026 12:00:30 GMT", 30),
        ("Mon, 05 Jan 2026 11:00:00 GMT", 0),
        ("Tue, 06 Jan 2026 12:00:00 GMT", MAX_RETRY_AFTER),
        ("-5", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999999999", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOW) == seconds


@given(st.text())
def test_retry_after_never_raises_and_is_bounded(value: str) -> None:
    seconds = retry_after_seconds(value, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


@pytest.mark.parametrize("host", ["localhost", "api.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["api.achieveit.com", "10.0.0.1", "localhost.evil.com", "127.0.0.1.nip.io", "", None])
def test_not_loopback(host: str | None) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b", "https://h.example:444/b"),
        ("https://h.example:444/c?x=1", "https://h.example:444/c?x=1"),
        ("http://h.example:444/c", None),
        ("https://h.example/c", None),
        ("https://evil.example:444/c", None),
        ("//evil.example/c", None),
        ("https://h.example:444@evil.example/c", None),
        ("https://h.example:99999/c", None),
        ("https://evil.example\\@h.example:444/c", None),
        ("https://evil.example\\.h.example:444/c", None),
        ("/\\evil.example/c", None),
        ("https://user@h.example:444/c", None),
        ("http://[bad", None),
        ("/c d", None),
        ("/c\r\nX-Evil: 1", None),
        ("", None),
        (None, None),
    ],
)
def test_the_key_stays_on_its_host(location: str | None, target: str | None) -> None:
    assert safe_redirect("https://h.example:444/a", location) == target


def test_a_default_port_is_the_same_place() -> None:
    assert safe_redirect("https://h.example:443/a", "https://h.example/b") == "https://h.example:443/b"


def test_a_step_up_to_https_is_followed() -> None:
    assert safe_redirect("http://localhost:80/a", "https://localhost/a") == "https://localhost/a"
