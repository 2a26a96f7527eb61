"""The plugin that puts the sync history page into Airflow's menu (3.1 and later).

Every Airflow process imports this module, and only the api-server shows pages: so nothing is imported before the first
one is asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin

_NAME = "AchieveIt sync history"
_Message = MutableMapping[str, Any]

HAS_EXTERNAL_VIEWS = hasattr(AirflowPlugin, "external_views")
"""This Airflow has a place for the page: 3.1 and later."""


class HistoryApp:
    """The page as an ASGI application, which is made when it is first asked for something."""

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Answer a request."""
        from airflow_provider_achieveit.history.app import history_app

        await history_app()(scope, receive, send)


class AchieveItPlugin(AirflowPlugin):
    """The page at ``/achieveit/history``, and its place in the menu *Browse*; nothing before Airflow 3.1.

    See Airflow's documentation, "Plugins": ``fastapi_apps`` and ``external_views``.
    """

    name = "achieveit"
    fastapi_apps = [{"app": HistoryApp(), "url_prefix": "/achieveit", "name": _NAME}] if HAS_EXTERNAL_VIEWS else []
    external_views = (
        [
            {
                "name": _NAME,
                # Without a slash in front: below whatever path Airflow is served.
                "href": "achieveit/history",
                "destination": "nav",
                "category": "browse",
                "url_route": "achieveit",
            }
        ]
        if HAS_EXTERNAL_VIEWS
        else []
    )
