"""From a connection to checked settings."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.hooks.connection import client_config, plan_url
from airflow_provider_achieveit.hooks.connection_form import EXTRA_FIELDS


def config(host: str | None = None, port: int | None = None, key: str | None = "k" * 32, **extra: Any) -> ClientConfig:
    return client_config(host=host, port=port, password=key, extra=extra)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "https://api.achieveit.com"),
        ({"host": ""}, "https://api.achieveit.com"),
        ({"environment": ""}, "https://api.achieveit.com"),
        ({"environment": "Government"}, "https://gov-api.achieveit.com"),
        ({"host": "h.example"}, "https://h.example"),
        ({"host": "h.example", "port": 0}, "https://h.example"),
        ({"host": "h.example", "port": 8443}, "https://h.example:8443"),
        ({"host": "https://h.example:1/", "port": 8443}, "https://h.example:1"),
        ({"host": "https://h.example/base/", "port": 8443}, "https://h.example:8443/base"),
        ({"host": "https://[::1]", "port": 8443}, "https://[::1]:8443"),
        ({"host": "https", "port": 8443}, "https://https:8443"),
        ({"host": "http://localhost:8400", "allow_http": "true"}, "http://localhost:8400"),
        ({"host": "http://127.0.0.1:8400", "allow_http": True}, "http://127.0.0.1:8400"),
    ],
)
def test_base_url(given: dict[str, Any], url: str) -> None:
    assert config(**given).base_url == url


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"key": None}, "no API key: put it into the password field"),
        ({"key": ""}, "no API key"),
        ({"key": " \n"}, "no API key"),
        ({"key": "ab\ncd"}, "no header can carry"),
        ({"key": "schlüssel"}, "no header can carry"),
        ({"environment": "goverment"}, "use one of commercial, government"),
        ({"host": "http://api.achieveit.com"}, "plain http to api.achieveit.com is refused"),
        ({"host": "http://api.achieveit.com", "allow_http": True}, "plain http to api.achieveit.com is refused"),
        ({"host": "http://localhost:8400"}, "allow_http=true"),
        ({"host": "ftp://h.example"}, "'ftp' is not https"),
        ({"host": "https://"}, "no base URL"),
        ({"host": "https://h.example:99999"}, "no base URL"),
        ({"host": "https://user:hidden@h.example"}, "no base URL"),
        ({"host": "https://h.example?x=1"}, "no base URL"),
        ({"timeout": "soon"}, "timeout must be a number"),
        ({"timeout": -1}, "timeout must be more than 0"),
        ({"timeout": "nan"}, "timeout must be more than 0"),
        ({"connect_timeout": 0}, "connect_timeout must be more than 0"),
        ({"max_retries": -1}, "max_retries must be from 0 to 100"),
        ({"max_retries": True}, "max_retries must be a number"),
        ({"max_retries": 1.5}, "max_retries must be a whole number"),
        ({"max_requests_per_minute": 0}, "max_requests_per_minute must be from 1"),
        ({"max_requests_per_minute": "inf"}, "max_requests_per_minute must be a whole number"),
        ({"max_requests_per_minute": "many"}, "max_requests_per_minute must be a number"),
        ({"verify": "/no/such/ca.pem"}, "a CA file that does not exist here: /no/such/ca.pem"),
        ({"allow_http": "perhaps"}, "allow_http must be true or false"),
    ],
)
def test_what_cannot_be_used_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        config(**given)
    assert "hidden" not in str(caught.value)


def test_values_may_come_as_text(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.touch()
    made = config(timeout="7.5", connect_timeout="2", max_retries="0", verify=str(ca), allow_http="false")
    assert (made.timeout, made.connect_timeout, made.max_retries, made.verify) == (7.5, 2.0, 0, str(ca))


def test_empty_means_missing() -> None:
    assert config(**dict.fromkeys(EXTRA_FIELDS, "")) == config(**dict.fromkeys(EXTRA_FIELDS)) == config()


def test_the_defaults_that_the_form_shows_are_those_that_hold() -> None:
    shown = {name: field["schema"]["default"] for name, field in EXTRA_FIELDS.items() if "default" in field["schema"]}
    assert config(**shown) == config()


def test_a_limit_of_requests_may_come_as_text() -> None:
    assert config().max_requests_per_minute is None
    assert config(max_requests_per_minute="30").max_requests_per_minute == 30


def test_verify_may_be_switched_off() -> None:
    assert config(verify="False").verify is False
    assert config(verify=False).verify is False


def test_a_mistyped_extra_field_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        config(verfy="false")
    assert "Unknown extra field 'verfy' is ignored; did you mean 'verify'?" in caplog.text


def test_the_key_is_not_shown() -> None:
    assert "kkkk" not in repr(config())


def test_a_plan_has_an_address_where_the_connection_tells_one() -> None:
    assert plan_url({}, "42") is None
    assert plan_url({"web_url": ""}, "42") is None
    assert plan_url({"web_url": "https://app.example.com/p/{plan_id}?v=1"}, "a/b c") == (
        "https://app.example.com/p/a%2Fb%20c?v=1"
    )


@pytest.mark.parametrize("template", ["https://app.example.com/plans", "javascript:alert({plan_id})", "{plan_id}"])
def test_a_web_url_that_is_no_template_is_told(template: str) -> None:
    with pytest.raises(ValueError, match=r"web_url must be an address with .plan_id. in it"):
        plan_url({"web_url": template}, "42")
