"""The asset of a plan: ``achieveit://<host>/plans/<id>``.

Airflow finds these functions through the provider's ``asset-uris`` (``dataset-uris`` on Airflow 2): every
``Asset("achieveit://...")`` goes through :func:`sanitize_uri`, so that one plan has one address. Rests on "Asset
definitions" and "Asset-aware scheduling" of Airflow's documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urlsplit

from airflow.providers.common.compat.sdk import Asset

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset as OpenLineageDataset

SCHEME = "achieveit"
_DEFAULT_PORT = 443


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Return the address of a plan in its one form: host in lower case, no default port.

    :param uri: the parts of ``achieveit://<host>[:<port>]/plans/<id>``.
    :raises ValueError: it is no address of a plan, or has more in it: credentials, a query, a fragment.
    """
    try:
        host, port = _host(uri), uri.port
    except ValueError:
        host, port = "", None
    root, _, rest = uri.path.removeprefix("/").partition("/")
    plan_id = rest.removesuffix("/")
    if not host or root != "plans" or not plan_id or "/" in plan_id:
        # Without what may be a password in it.
        shown = f"{SCHEME}://{uri.netloc.rpartition('@')[2]}{uri.path}"
        raise ValueError(f"The asset of a plan is {SCHEME}://<host>/plans/<id>, not {shown}")
    if "@" in uri.netloc:
        raise ValueError(f"The asset of plan {plan_id} must not have credentials in its address")
    if uri.query or uri.fragment:
        raise ValueError(f"The asset of plan {plan_id} must not have a query or a fragment in its address")
    netloc = host if port in (None, _DEFAULT_PORT) else f"{host}:{port}"
    return SplitResult(SCHEME, netloc, f"/plans/{plan_id}", "", "")


def create_asset(*, host: str, plan_id: str, extra: dict[str, Any] | None = None) -> Asset:
    """Return the asset of a plan.

    :param host: host of the API, with its port if that is not 443, such as ``api.achieveit.com``.
    :param plan_id: the plan.
    :param extra: what Airflow keeps with the asset, default: nothing.
    :raises ValueError: the host or the plan cannot be part of an address.
    """
    return Asset(uri=plan_uri(host, plan_id), extra=extra)


def plan_uri(host: str, plan_id: str) -> str:
    """Return the address of a plan's asset.

    :param host: host of the API, as :func:`api_host` has it.
    :param plan_id: the plan.
    """
    return f"{SCHEME}://{host}/plans/{quote(plan_id, safe='')}"


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> OpenLineageDataset:
    """Return the dataset that stands for a plan in OpenLineage: namespace ``achieveit://<host>``, name ``plans/<id>``.

    :param asset: the asset of a plan.
    :param lineage_context: the hook that told of it; not needed.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset as OpenLineageDataset

    parts = urlsplit(str(asset.uri))
    return OpenLineageDataset(namespace=f"{SCHEME}://{parts.netloc}", name=parts.path.removeprefix("/"))


def api_host(base_url: str) -> str:
    """Return the host of an API as the assets of its plans have it.

    :param base_url: the base URL of a connection.
    """
    parts = urlsplit(base_url)
    host = _host(parts)
    return host if parts.port in (None, _DEFAULT_PORT) else f"{host}:{parts.port}"


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host
