"""
The proxies under test: one frozen row each, with the program, the configuration template and how to start it.

Driven by ``testbed``. Pure, but for looking up where httpd keeps its modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.macro import programs, render
from bench.macro.programs import Program

OURS = "wsproxy"

HTTPD_MODULE_DIRS = (
    Path("/usr/lib/apache2/modules"),  # Debian
    Path("/usr/lib64/httpd/modules"),  # Red Hat
    Path("/usr/lib/httpd/modules"),
    Path("/usr/local/apache2/modules"),  # built from source
)


def _wsproxy(program: Path, config: Path, port: int) -> list[str]:
    return [str(program), "run", str(config), "--listen", f"127.0.0.1:{port}", "--workers", "1"]


def _nginx(program: Path, config: Path, _port: int) -> list[str]:
    return [str(program), "-p", str(config.parent), "-c", str(config), "-e", "stderr"]


def _haproxy(program: Path, config: Path, _port: int) -> list[str]:
    return [str(program), "-db", "-f", str(config)]


def _httpd(program: Path, config: Path, _port: int) -> list[str]:
    return [str(program), "-D", "FOREGROUND", "-f", str(config)]


def _httpd_values() -> dict[str, str]:
    found = next((path for path in HTTPD_MODULE_DIRS if path.is_dir()), HTTPD_MODULE_DIRS[0])
    return {"modules": str(found), "user_line": render.httpd_user_lines()}


def _no_values() -> dict[str, str]:
    return {}


def _nginx_default_buffers() -> dict[str, str]:
    return {"buffer_lines": "            # proxy_buffering and its buffers are at their defaults"}


def _nginx_large_buffers() -> dict[str, str]:
    # a whole 64-KiB answer fits, so that nginx never writes a temporary file for it
    lines = ("proxy_buffer_size 16k;", "proxy_buffers 8 32k;", "proxy_busy_buffers_size 128k;")
    return {"buffer_lines": "\n".join(f"            {line}" for line in lines)}


@dataclass(frozen=True, slots=True)
class Proxy:
    """
    One proxy; ``command`` takes the program, its configuration and the port.

    ``optional``: measured only where ``--only`` names it.
    """

    name: str
    program: Program
    template: str
    command: Callable[[Path, Path, int], list[str]]
    values: Callable[[], dict[str, str]] = field(default=_no_values)
    note: str = ""
    optional: bool = False

    def config_name(self) -> str:
        """A file name of its own in the work directory; the suffix helps editors."""
        return f"{self.name}{Path(self.template).suffix}"


PROXIES = {
    proxy.name: proxy
    for proxy in (
        Proxy(OURS, programs.WSPROXY, "plugin-cfg.xml", _wsproxy, note="one worker"),
        Proxy(
            "nginx",
            programs.NGINX,
            "nginx.conf",
            _nginx,
            _nginx_default_buffers,
            note="one worker; proxy_buffering and buffers at their defaults",
        ),
        Proxy(
            "haproxy",
            programs.HAPROXY,
            "haproxy.cfg",
            _haproxy,
            note="one thread; sends header names in lower case",
        ),
        Proxy(
            "httpd",
            programs.HTTPD,
            "httpd.conf",
            _httpd,
            _httpd_values,
            note="event MPM, one child with 64 threads",
        ),
        Proxy(
            "nginx-buffers",
            programs.NGINX,
            "nginx.conf",
            _nginx,
            _nginx_large_buffers,
            note="as nginx, with buffers that hold a whole 64-KiB answer",
            optional=True,
        ),
    )
}
