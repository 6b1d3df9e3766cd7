"""
How the proxy is, for machines: ``/health``, ``/ready`` and ``/metrics``, at the paths that load balancers, Kubernetes and Prometheus ask.

Driven by ``admin.server``. Asking changes nothing and costs the workers nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from aiohttp import web

from wsproxy.admin.live import LiveProxy
from wsproxy.admin.metrics import CONTENT_TYPE
from wsproxy.admin.tcp import HEALTH_PATH, METRICS_PATH, READY_PATH


class HealthAnswer(msgspec.Struct):
    """``status``: alive, as long as anybody answers."""

    status: Literal["alive"] = "alive"


class ReadyAnswer(msgspec.Struct):
    """``why``: it is not."""

    ready: bool
    why: str = ""


def add_standing(app: web.Application, proxy: LiveProxy) -> None:
    """These three."""

    async def health(_request: web.Request) -> web.Response:
        return _json(HealthAnswer())

    async def ready(_request: web.Request) -> web.Response:
        why = proxy.why_not_ready()
        return _json(ReadyAnswer(not why, why), 503 if why else 200)

    async def metrics(_request: web.Request) -> web.Response:
        response = web.Response(body=proxy.metrics(), headers={"Content-Type": CONTENT_TYPE})
        # A connection is cut after 20 s, which could be within the next answer.
        response.force_close()
        return response

    app.router.add_get(HEALTH_PATH, health)
    app.router.add_get(READY_PATH, ready)
    app.router.add_get(METRICS_PATH, metrics)


def _json(answer: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(answer),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
