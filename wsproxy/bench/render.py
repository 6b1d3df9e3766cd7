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
from dataclasses import dataclass
from pathlib import Path

from wsproxy.bench import traffic
from wsproxy.bench.scenarios import (
    CHUNKED_BODY_BYTES,
    HUGE_BODY_BYTES,
    LARGE_BODY_BYTES,
    SMALL_BODY_BYTES,
    Scenario,
)
from wsproxy.bench.tls import Certificate

TEMPLATES = Path(__file__).parent / "configs"
RESULT_MARKER = "WRK-RESULT "
FILES = {"64k": LARGE_BODY_BYTES, "1m": HUGE_BODY_BYTES, "chunked": CHUNKED_BODY_BYTES}
# What a line that does not apply begins with: a comment in nginx, HAProxy, httpd and TOML
COMMENT = "# "
SPARE_THREADS = 8


class ConfigTemplate(string.Template):
    """``@{name}`` is filled and ``$`` means nothing; a bare ``@`` is an error, so that no slip stays unseen."""

    delimiter = "@"
    idpattern = r"(?!)"  # no @name without braces
    braceidpattern = r"[a-z_]+"


@dataclass(frozen=True, slots=True)
class Addresses:
    """The ports of one run, all on 127.0.0.1; ``upstream_ports`` in the order of ``traffic.CLONE_IDS``."""

    upstream_ports: tuple[int, ...]
    echo_port: int

    @property
    def clones(self) -> list[tuple[str, int]]:
        """Clone id and port of each app server."""
        return list(zip(traffic.CLONE_IDS, self.upstream_ports, strict=True))


def render(template: str, values: dict[str, str]) -> str:
    """
    The text of a template with every placeholder filled.

    Raises: KeyError for a placeholder without a value, ValueError for a malformed one.
    """
    return ConfigTemplate((TEMPLATES / template).read_text()).substitute(values)


def upstream_values(addresses: Addresses, workdir: Path) -> dict[str, str]:
    """What ``upstream.conf`` needs."""
    return {
        "workdir": str(workdir),
        "user_line": nginx_user_line(),
        "listen_lines": "\n".join(
            f"        listen 127.0.0.1:{port} backlog=4096;" for port in addresses.upstream_ports
        ),
        "small_body": "x" * SMALL_BODY_BYTES,
        "echo_port": str(addresses.echo_port),
    }


def proxy_values(
    scenario: Scenario,
    addresses: Addresses,
    certificate: Certificate,
    workdir: Path,
    listen_port: int,
    extra: dict[str, str],
) -> dict[str, str]:
    """
    What the templates of the proxies need, all of them together; a template takes what it names.

    A line that begins with ``@{when_...}`` counts in such a scenario and is a comment in the others.
    """
    clones = addresses.clones
    # a connection for each request in flight, and none closed because the next one goes to the other server
    pool_size = 2 * scenario.connections
    return {
        "when_plain": COMMENT if scenario.tls else "",
        "when_tls": "" if scenario.tls else COMMENT,
        "when_session_ids": "" if scenario.has_session_ids else COMMENT,
        "certificate": str(certificate.certificate),
        "certificate_key": str(certificate.key),
        "certificate_and_key": str(certificate.both),
        "pool_size": str(pool_size),
        "threads": str(scenario.connections + SPARE_THREADS),
        "workdir": str(workdir),
        "listen_port": str(listen_port),
        "upload_bytes": str(scenario.upload_bytes),
        "answer_bytes": str(scenario.body_bytes),
        "keep_or_close": "close" if scenario.closes else "keep",
        "server_ports": " ".join(str(port) for _, port in clones),
        "user_line": nginx_user_line(),
        "map_lines": "\n".join(f"        ~:{clone}$ clone_{clone};" for clone, _ in clones),
        "all_server_lines": "\n".join(f"        server 127.0.0.1:{port};" for _, port in clones),
        "clone_upstreams": "\n".join(
            _nginx_clone_upstream(clone, clones, pool_size) for clone, _ in clones
        ),
        "server_lines": "\n".join(f"    server {clone} 127.0.0.1:{port}" for clone, port in clones),
        "member_lines": "\n".join(
            f'    BalancerMember "http://127.0.0.1:{port}" route={clone}' for clone, port in clones
        ),
        "server_elements": "\n".join(_server_element(clone, port) for clone, port in clones),
        "primary_elements": "\n".join(
            f'         <Server Name="server_{clone}"/>' for clone, _ in clones
        ),
    } | extra


def wrk_values(scenario: Scenario, listen_port: int) -> dict[str, str]:
    """What ``request.lua`` needs."""
    headers = traffic.browser_headers(listen_port, scenario.scheme, closes=scenario.closes)
    return {
        "method": scenario.method,
        "upload": _lua_upload(scenario.upload_bytes),
        "path": scenario.path,
        "marker": RESULT_MARKER,
        "cookie_lines": "\n".join(f'    "{cookie}",' for cookie in traffic.cookies_in_turn()),
        "header_lines": "\n".join(
            f'    wrk.headers["{name}"] = "{value}"' for name, value in headers
        ),
    }


def write_static_files(workdir: Path) -> None:
    """Lays out the files that the upstream serves; under ``workdir``, which lies in tmpfs where there is one."""
    directory = workdir / "www" / "app"
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


def _nginx_clone_upstream(clone_id: str, clones: list[tuple[str, int]], pool_size: int) -> str:
    servers = [
        f"        server 127.0.0.1:{port}{'' if clone == clone_id else ' backup'};"
        for clone, port in clones
    ]
    return "\n".join(
        [f"    upstream clone_{clone_id} {{", *servers, f"        keepalive {pool_size};", "    }"]
    )


def _lua_upload(length: int) -> str:
    """An expression of Lua for ``traffic.upload_body(length)``, which is too long to be written out."""
    if length == 0:
        return "nil"
    line = traffic.UPLOAD_LINE
    return f'string.rep("{line}", {length // len(line) + 1}):sub(1, {length})'


def _server_element(clone_id: str, port: int) -> str:
    return (
        f'      <Server CloneID="{clone_id}" ConnectTimeout="5" ExtendedHandshake="false" LoadBalanceWeight="2"\n'
        f'              MaxConnections="-1" Name="server_{clone_id}" ServerIOTimeout="900" WaitForContinue="false">\n'
        f'         <Transport Hostname="127.0.0.1" Port="{port}" Protocol="http"/>\n'
        f"      </Server>"
    )
