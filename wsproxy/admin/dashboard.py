"""
The dashboard at ``/``: a page of fixed files, which asks what everybody else may ask.

Driven by ``admin.server``. The files hold nothing of the proxy, so they need no token; what they ask for does.
"""

from __future__ import annotations

import importlib.resources

from aiohttp import web

from wsproxy.admin.page import PAGE_FILES

# Nothing but these files, nothing inline, no text that becomes markup, in nobody's frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A page of one version with the script of another, after an upgrade, would be a riddle.
    "Cache-Control": "no-cache",
}


def add_dashboard(app: web.Application) -> None:
    """Its files. # I/O: read once."""
    folder = importlib.resources.files("wsproxy.admin.page")
    for path, (name, kind) in PAGE_FILES.items():
        _add_file(app, path, folder.joinpath(name).read_bytes(), kind)


def _add_file(app: web.Application, path: str, data: bytes, kind: str) -> None:
    async def file(_request: web.Request) -> web.Response:
        return web.Response(body=data, content_type=kind, charset="utf-8", headers=_HEADERS)

    app.router.add_get(path, file)
