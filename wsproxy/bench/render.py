"""
Configuration files for one run, from the templates in ``configs/``.

Driven by ``bed``. A placeholder is ``@{name}``, since nginx, HAProxy, httpd and Lua all use ``$`` themselves. Must not
start anything; writes only where it is told to.
"""

from __future__ import annotations

import getpass
import os
import pwd
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from wsproxy.bench import traffic
from wsproxy.bench.scenarios import (
    CHUNKED_BODY_BYTES,
    HUGE_BODY_BYTES,
    LARGE_BODY_BYTES,
    MEDIUM_BODY_BYTES,
    SMALL_BODY_BYTES,
    Scenario,
)
from wsproxy.bench.site import HOST_NAME, Site
from wsproxy.bench.tls import Certificate

TEMPLATES = Path(__file__).parent / "configs"
RESULT_MARKER = "WRK-RESULT "
FILES = {
    "16k": MEDIUM_BODY_BYTES,
    "64k": LARGE_BODY_BYTES,
    "1m": HUGE_BODY_BYTES,
    "chunked": CHUNKED_BODY_BYTES,
}
# What a line that does not apply begins with: a comment in nginx, HAProxy, httpd and TOML
COMMENT = "# "
SPARE_THREADS = 8
UPGRADE_LINE = "    proxy_set_header Upgrade $http_upgrade;"


class ConfigTemplate(string.Template):
    """``@{name}`` is filled and ``$`` means nothing; a bare ``@`` is an error, so that no slip stays unseen."""

    delimiter = "@"
    idpattern = r"(?!)"  # no @name without braces
    braceidpattern = r"[a-z_]+"


def render(template: str, values: dict[str, str]) -> str:
    """
    The text of a template with every placeholder filled.

    Raises: KeyError for a placeholder without a value, ValueError for a malformed one.
    """
    return ConfigTemplate((TEMPLATES / template).read_text()).substitute(values)


def upstream_values(ports: Sequence[int], echo_port: int, workdir: Path) -> dict[str, str]:
    """What ``upstream.conf`` needs."""
    return {
        "workdir": str(workdir),
        "user_line": nginx_user_line(),
        "listen_lines": "\n".join(
            f"        listen 127.0.0.1:{port} backlog=4096;" for port in ports
        ),
        "small_body": "x" * SMALL_BODY_BYTES,
        "echo_port": str(echo_port),
    }


def pool_size(scenario: Scenario) -> int:
    """A connection for each request in flight, and none closed because the next one goes to another server."""
    return 2 * scenario.connections


def proxy_values(
    scenario: Scenario,
    ports: Sequence[int],
    certificate: Certificate,
    workdir: Path,
    listen_port: int,
    extra: Mapping[str, str],
    workers: int = 1,
) -> dict[str, str]:
    """
    What the templates of the proxies need beside the site (``peers``), all of them together; a template takes what it names.

    A line that begins with ``@{when_...}`` counts in such a scenario and is a comment in the others.
    """
    return {
        "when_plain": COMMENT if scenario.tls else "",
        "when_tls": "" if scenario.tls else COMMENT,
        "when_session_ids": "" if scenario.has_session_ids else COMMENT,
        "when_log": "" if scenario.logs else COMMENT,
        "when_no_log": COMMENT if scenario.logs else "",
        "scheme": scenario.scheme,
        "workers": str(workers),
        "connection_value": "upgrade" if scenario.kind == "websocket" else '""',
        "upgrade_line": UPGRADE_LINE if scenario.kind == "websocket" else "",
        "certificate": str(certificate.certificate),
        "certificate_key": str(certificate.key),
        "certificate_and_key": str(certificate.both),
        "threads": str(scenario.connections + SPARE_THREADS),
        "all_threads": str((scenario.connections + SPARE_THREADS) * workers),
        "workdir": str(workdir),
        "listen_port": str(listen_port),
        "upload_bytes": str(scenario.upload_bytes),
        "answer_bytes": str(scenario.body_bytes),
        "keep_or_close": "close" if scenario.closes else "keep",
        "server_ports": " ".join(map(str, ports)),
        "user_line": nginx_user_line(),
        # Of TLS or not, and how many may wait: said once for an address.
        "listen_options": " ssl" if scenario.tls else "",
    } | dict(extra)


def wrk_values(scenario: Scenario, site: Site, listen_port: int) -> dict[str, str]:
    """What ``request.lua`` needs."""
    visits = traffic.visits(site, clone_ids=scenario.clone_ids, length=scenario.cookie_bytes)
    headers = traffic.browser_headers(
        traffic.host_field(HOST_NAME, listen_port),
        scenario.answer,
        scenario.scheme,
        closes=scenario.closes,
    )
    return {
        "method": scenario.method,
        "upload": _lua_upload(scenario.upload_bytes),
        "marker": RESULT_MARKER,
        "visit_lines": "\n".join(
            f"    {{{', '.join(map(_lua_text, _visit(scenario, listen_port, each, at)))}}},"
            for at, each in enumerate(visits)
        ),
        "header_lines": "\n".join(
            f'    wrk.headers["{name}"] = "{value}"' for name, value in headers
        ),
    }


def write_static_files(workdir: Path) -> None:
    """Lays out the files that the upstream serves; under ``workdir``, which lies in tmpfs where there is one."""
    directory = workdir / "www" / "bench"
    directory.mkdir(parents=True)
    line = b"<tr><td>row of a table that an application might have rendered</td></tr>\n"
    for name, length in FILES.items():
        (directory / name).write_bytes((line * (length // len(line) + 1))[:length])


def nginx_user_line() -> str:
    """Keeps root's nginx workers root, as the work directory is ours; nothing where we are not root (nginx would warn)."""
    return f"user {getpass.getuser()};" if os.geteuid() == 0 else ""


def httpd_user_lines() -> str:
    """A user for httpd's child, which refuses to be root; nothing where we are not root."""
    return f"User nobody\nGroup #{pwd.getpwnam('nobody').pw_gid}" if os.geteuid() == 0 else ""


def _visit(
    scenario: Scenario, listen_port: int, visit: traffic.Visit, at: int
) -> tuple[str, str, str, str]:
    """Host, path, Cookie, answer."""
    answer = scenario.mix[at % len(scenario.mix)] if scenario.mix else scenario.answer
    return traffic.host_field(visit.host, listen_port), visit.path, visit.cookie, answer


def _lua_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _lua_upload(length: int) -> str:
    """An expression of Lua for ``traffic.upload_body(length)``, which is too long to be written out."""
    if length == 0:
        return "nil"
    line = traffic.UPLOAD_LINE
    return f'string.rep("{line}", {length // len(line) + 1}):sub(1, {length})'
