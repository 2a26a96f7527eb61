"""From an Airflow connection of type ``achieveit`` to checked client settings. Pure, but for a look at the CA file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from airflow_provider_achieveit.api.config import ClientConfig
from airflow_provider_achieveit.api.contract import BASE_URLS
from airflow_provider_achieveit.api.nearest import nearest
from airflow_provider_achieveit.hooks.connection_form import EXTRA_FIELDS

log = logging.getLogger(__name__)


def client_config(
    *, host: str | None, port: int | None, password: str | None, extra: Mapping[str, Any]
) -> ClientConfig:
    """Return the client settings a connection describes.

    Forms, environment variables and secrets backends hand over the same connection in different shapes: an empty
    string and a missing value mean the same, port 0 means none, numbers and booleans may come as text.

    :param host: base URL, or host name (https is assumed); empty: by the extra field ``environment``.
    :param port: added to the host if it has none; 0 or None: none.
    :param password: the API key.
    :param extra: the extra fields (:data:`.connection_form.EXTRA_FIELDS`); others are reported and ignored.
    :raises ValueError: a value is missing or unusable; the message says which and what to do.
    """
    given = {name: value for name, value in extra.items() if value is not None and value != ""}
    for name in given.keys() - set(EXTRA_FIELDS):
        near = nearest(name, EXTRA_FIELDS)
        log.warning("Unknown extra field %r is ignored%s", name, f"; did you mean {near!r}?" if near else "")
    return ClientConfig(
        base_url=_base_url(host, port, str(given.get("environment", "commercial"))),
        api_key=(password or "").strip(),
        timeout=_number(given, "timeout", 60.0),
        connect_timeout=_number(given, "connect_timeout", 10.0),
        max_retries=_whole(given, "max_retries", 5),
        verify=_verify(given.get("verify", True)),
        allow_http=_boolean("allow_http", given.get("allow_http", False)),
        max_requests_per_minute=(
            _whole(given, "max_requests_per_minute") if "max_requests_per_minute" in given else None
        ),
    )


def check_extra(text: str | None) -> None:
    """See to it that a connection's extra can be read: Airflow takes one that cannot for an empty one.

    The key of a government tenant would then go to the commercial address.

    :param text: the extra as it is kept.
    :raises ValueError: it is no JSON object.
    """
    try:
        extra = json.loads(text) if text and text.strip() else {}
    except ValueError as error:
        raise ValueError(f"the extra is no JSON ({error}); correct it") from None
    if extra is not None and not isinstance(extra, dict):
        raise ValueError('the extra must be a JSON object, such as {"environment": "government"}')


def plan_url(extra: Mapping[str, Any], plan_id: str) -> str | None:
    """Return the address of a plan in the web application; None where the connection does not tell it.

    AchieveIt documents no addresses of its web application, so none is guessed.

    :param extra: the connection's extra fields; ``web_url`` is a template such as
        ``https://app.example.com/plans/{plan_id}``.
    :param plan_id: the plan.
    :raises ValueError: ``web_url`` is no such template; the message says what to change.
    """
    template = str(extra.get("web_url") or "").strip()
    if not template:
        return None
    parts = urlsplit(template)
    if "{plan_id}" not in template or parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(
            f"the extra field web_url must be an address with {{plan_id}} in it, such as "
            f"https://app.example.com/plans/{{plan_id}}, not {template!r}"
        )
    return template.replace("{plan_id}", quote(plan_id, safe=""))


def _base_url(host: str | None, port: int | None, environment: str) -> str:
    if not host:
        try:
            return BASE_URLS[environment.lower()]
        except KeyError:
            raise ValueError(
                f"the extra field environment is {environment!r}; use one of {', '.join(BASE_URLS)}, or set the host"
            ) from None
    url = host.strip() if "://" in host else f"https://{host.strip()}"
    url = url.rstrip("/")
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if port and ":" not in authority.rpartition("]")[2]:
        authority = f"{authority}:{port}"
    return f"{scheme}://{authority}{slash}{path}"


def _verify(value: Any) -> bool | str:
    if isinstance(value, str) and value.lower() not in _BOOLEANS:
        if not Path(value).is_file():
            raise ValueError(f"the extra field verify names a CA file that does not exist here: {value}")
        return value
    return _boolean("verify", value)


_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _boolean(name: str, value: Any) -> bool:
    try:
        return _BOOLEANS[str(value).strip().lower()]
    except KeyError:
        raise ValueError(f"the extra field {name} must be true or false, not {value!r}") from None


def _number(given: Mapping[str, Any], name: str, default: float = 0) -> float:
    value = given.get(name, default)
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"the extra field {name} must be a number, not {value!r}") from None


def _whole(given: Mapping[str, Any], name: str, default: int = 0) -> int:
    number = _number(given, name, default)
    if not number.is_integer():
        raise ValueError(f"the extra field {name} must be a whole number, not {given[name]!r}")
    return int(number)
