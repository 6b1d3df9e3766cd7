"""
The proxies under test: one frozen row each, with the program, the configuration template and how to start it.

Driven by ``bed``. Pure, but for looking up where httpd keeps its modules.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from wsproxy.bench import programs, render
from wsproxy.bench.floor import FLOOR as FLOOR_PROGRAM
from wsproxy.bench.peers import caddy, envoy, haproxy, httpd, nginx, ourselves
from wsproxy.bench.peers.common import Say
from wsproxy.bench.programs import Program

OURS = "wsproxy"

HTTPD_MODULE_DIRS = (
    Path("/usr/lib/apache2/modules"),  # Debian
    Path("/usr/lib64/httpd/modules"),  # Red Hat
    Path("/usr/lib/httpd/modules"),
    Path("/usr/local/apache2/modules"),  # built from source
)


SETTINGS_TEMPLATE = "wsproxy.toml"


def _wsproxy(program: Path, config: Path, *, more: tuple[str, ...] = ()) -> list[str]:
    plugin_cfg = str(config.with_name(ourselves.FILE))
    return [str(program), *more, "run", plugin_cfg, "--settings", str(config)]


def _nginx(program: Path, config: Path) -> list[str]:
    return [str(program), "-p", str(config.parent), "-c", str(config), "-e", "stderr"]


def _haproxy(program: Path, config: Path) -> list[str]:
    return [str(program), "-db", "-f", str(config)]


def _haproxy_master(program: Path, config: Path) -> list[str]:
    """With a master process: without one it cannot read its configuration again."""
    return [str(program), "-W", "-f", str(config)]


def _caddy(program: Path, config: Path) -> list[str]:
    return [str(program), "run", "--config", str(config), "--adapter", "caddyfile"]


def _envoy(program: Path, config: Path) -> list[str]:
    """One thread for each core that it may use, as it is pinned."""
    return [
        str(program),
        "-c",
        str(config),
        "--cpuset-threads",
        "--disable-hot-restart",
        "-l",
        "error",
    ]


def _httpd(program: Path, config: Path) -> list[str]:
    return [str(program), "-D", "FOREGROUND", "-f", str(config)]


def _floor(program: Path, config: Path) -> list[str]:
    return [str(program), *config.read_text().split()]


def _nothing(_program: Path, _config: Path) -> list[str]:
    return []


def _httpd_values() -> dict[str, str]:
    """Where httpd finds its modules, and who its child is."""
    found = next((path for path in HTTPD_MODULE_DIRS if path.is_dir()), HTTPD_MODULE_DIRS[0])
    return {"modules": str(found), "user_line": render.httpd_user_lines()}


def _wsproxy_values(*, splices: bool = True, logs_access: bool = False) -> dict[str, str]:
    log = {"when_log": ""} if logs_access else {}
    return {"splice": str(splices).lower()} | log


def _haproxy_values(*, splices: bool = False) -> dict[str, str]:
    options = ("    option splice-request", "    option splice-response")
    return {
        "splice_lines": "\n".join(options)
        if splices
        else "    # splicing: off, as it is by default"
    }


def _no_values() -> dict[str, str]:
    return {}


VERSION = re.compile(r"\d+\.\d+[\w.-]*")
WITH_TLS = ("tls", "tls-new", "tls-resumed", "tls-64k", "tls-1m", "tls-upload", "memory-tls")
ONLY_ASKED = ("",)  # not in any scenario by itself


@dataclass(frozen=True, slots=True)
class Proxy:
    """
    One proxy; ``command`` takes the program and its configuration, which ``say`` has put the site into words for.

    ``buffer_lines`` go into the template as they are: none means the program's own defaults. ``only_in`` names the
    scenarios that measure it unasked; empty means all. ``never_in`` names those that it cannot take part in.
    ``does_duties``: not so where it is no proxy for this job, but a measure for those that are; then only its answers
    are looked at. No ``program``: wrk talks to the upstream itself.
    """

    name: str
    program: Program | None
    template: str
    command: Callable[[Path, Path], list[str]]
    note: str
    values: Callable[[], dict[str, str]] = field(default=_no_values)
    buffer_lines: tuple[str, ...] = ()
    only_in: tuple[str, ...] = ()
    say: Say | None = None
    # how much wsproxy writes into its http_plugin.log (no name: none is written)
    log_level: str = "Error"
    log_name: str = "http_plugin.log"
    environment: Mapping[str, str] = field(default_factory=dict)
    never_in: tuple[str, ...] = ()
    does_duties: bool = True
    # how it is told to read its configuration again, and how it is started so that it can; None: it cannot, or as ever
    reload_signal: signal.Signals | None = None
    reloadable_command: Callable[[Path, Path], list[str]] | None = None

    @property
    def config_name(self) -> str:
        """Of its configuration; the suffix helps editors."""
        return Path(self.template).name

    def template_values(self) -> dict[str, str]:
        """What this proxy's template needs beyond ports and servers."""
        return {
            "buffer_lines": "\n".join(self.buffer_lines or ("# buffers: defaults",))
        } | self.values()


WSPROXY = Proxy(
    OURS,
    programs.WSPROXY,
    SETTINGS_TEMPLATE,
    _wsproxy,
    "one worker, all settings at their defaults, LogLevel Error as generated files have it",
    _wsproxy_values,
    say=ourselves.say,
    reload_signal=signal.SIGHUP,
)
NGINX = Proxy(
    "nginx",
    programs.NGINX,
    "nginx.conf",
    _nginx,
    "one worker; proxy_buffering and its buffers at their defaults",
    say=nginx.say,
    reload_signal=signal.SIGHUP,
)
HAPROXY = Proxy(
    "haproxy",
    programs.HAPROXY,
    "haproxy.cfg",
    _haproxy,
    "one thread; sends header names in lower case",
    _haproxy_values,
    say=haproxy.say,
    reload_signal=signal.SIGUSR2,
    reloadable_command=_haproxy_master,
)
HTTPD = Proxy(
    "httpd",
    programs.HTTPD,
    "httpd.conf",
    _httpd,
    "event MPM, one child, a thread for each connection of wrk and 8 more",
    _httpd_values,
    say=httpd.say,
    never_in=("cookies",),  # of several clone ids in a cookie it takes none
    reload_signal=signal.SIGUSR1,
)
CADDY = Proxy(
    "caddy",
    programs.CADDY,
    "Caddyfile",
    _caddy,
    "one core; settings at their defaults but for the idle connections that it keeps",
    say=caddy.say,
    reload_signal=None,  # by its admin endpoint only, which is off
    only_in=ONLY_ASKED,
    # it has no word for $WSSI, the id of a TLS session; 10,000 rules take it more than a quarter of a minute to start
    never_in=(*WITH_TLS, "routes-10000"),
)
ENVOY = Proxy(
    "envoy",
    programs.ENVOY,
    "envoy.yaml",
    _envoy,
    "one worker thread; sends header names in lower case; settings at their defaults but for its bounds, which are lifted",
    say=envoy.say,
    reload_signal=None,  # files of its own are watched, each in a format of its own
    only_in=ONLY_ASKED,
    # With TLS 1.3 it takes AES-128, and cannot be told otherwise: it would do less work than the others. Routes are a list for it.
    never_in=(*WITH_TLS, "routes-10000", "reload"),
)

# What there is to compare with: no proxy at all, and the least that one can do.
DIRECT = Proxy(
    "direct",
    None,
    "floor.arguments",
    _nothing,
    "no proxy: wrk asks the first server itself, and nobody uses the proxy's core",
    never_in=(*WITH_TLS, "reload", "memory"),
    does_duties=False,
)
FLOOR = Proxy(
    "floor",
    FLOOR_PROGRAM,
    "floor.arguments",
    _floor,
    "wsproxy/bench/floor.c: relays and does none of the duties; the least that a proxy can cost",
    never_in=(*WITH_TLS, "chunked", "mixed", "websocket", "reload", "log"),
    does_duties=False,
)

# What the logs cost, and what splicing saves: compare with wsproxy itself. Measured only where it is asked for by name.
OWN_VARIANTS = (
    replace(
        WSPROXY,
        name="wsproxy-copies",
        note="as wsproxy, with upstream.splice = false",
        values=partial(_wsproxy_values, splices=False),
        only_in=ONLY_ASKED,
    ),
    replace(
        WSPROXY,
        name="wsproxy-access",
        note="as wsproxy, with an access log also where the scenario has none",
        values=partial(_wsproxy_values, logs_access=True),
        only_in=ONLY_ASKED,
    ),
    replace(
        WSPROXY,
        name="wsproxy-nolog",
        note="as wsproxy, without http_plugin.log",
        log_name="",
        only_in=ONLY_ASKED,
    ),
    *(
        replace(
            WSPROXY,
            name=f"wsproxy-{level.lower()}",
            note=f"as wsproxy, with http_plugin.log at LogLevel {level}",
            log_level=level,
            only_in=ONLY_ASKED,
        )
        for level in ("Stats", "Detail", "Trace")
    ),
)

# The peers' default buffers are smaller than a 64-KiB answer, and each can be told to use larger ones. Measured without
# that, nginx and httpd need twice the CPU: a comparison with the defaults alone would flatter us.
LARGE_BODIES = ("64k", "1m", "upload")
SPLICED_BODIES = ("1m", "upload")  # for 64 KiB it changes nothing
VARIANTS = (
    replace(
        NGINX,
        name="nginx-buffers",
        note="as nginx, with buffers that hold a whole 64-KiB answer, no temporary files, uploads passed on as they come",
        buffer_lines=(
            "proxy_buffer_size 16k;",
            "proxy_buffers 8 32k;",
            "proxy_busy_buffers_size 128k;",
            "proxy_max_temp_file_size 0;",
            "proxy_request_buffering off;",
        ),
        only_in=LARGE_BODIES,
    ),
    replace(
        HAPROXY,
        name="haproxy-buffers",
        note="as haproxy, with buffers that hold a whole 64-KiB answer",
        buffer_lines=("    tune.bufsize 98304",),
        only_in=LARGE_BODIES,
    ),
    replace(
        HAPROXY,
        name="haproxy-splice",
        note="as haproxy, with splicing in both directions",
        values=partial(_haproxy_values, splices=True),
        only_in=SPLICED_BODIES,
    ),
    replace(
        HTTPD,
        name="httpd-buffers",
        note="as httpd, with buffers that hold a whole 64-KiB answer",
        buffer_lines=("ProxyIOBufferSize 65536",),
        only_in=LARGE_BODIES,
    ),
)

PROXIES = {
    proxy.name: proxy
    for proxy in (
        DIRECT,
        FLOOR,
        WSPROXY,
        NGINX,
        HAPROXY,
        HTTPD,
        CADDY,
        ENVOY,
        *OWN_VARIANTS,
        *VARIANTS,
    )
}


def of_checkout(path: Path, commit: str) -> Proxy:
    """
    Another checkout's wsproxy, to be compared with ours, round by round.

    Python and the libraries are ours, so that nothing else differs; the extensions are built there, in place.
    """
    return replace(
        WSPROXY,
        name=f"{OURS}-against",
        program=Program("python", (sys.executable,), None, ("--version",)),
        command=partial(_wsproxy, more=("-m", OURS)),
        note=f"as wsproxy, of {path} at {commit}",
        # Not from the working directory: ours is there.
        environment={"PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"},
    )


def of_program(told: str) -> Proxy:
    """
    Another build of a proxy: ``told`` is its name, ``=`` and a path. It is called for the version that it says. I/O.

    Raises: KeyError where it is no proxy that has builds, or there is no such program.
    """
    name, _, path = told.partition("=")
    like = PROXIES.get(name)
    if like is None or like.program is None or not like.does_duties or not Path(path).is_file():
        raise KeyError(told)
    program = replace(like.program, commands=(str(Path(path).resolve()),), package=None)
    found = VERSION.search(program.version())
    version = found[0] if found else Path(path).parent.name
    program = replace(program, name=f"{name}-{version}")
    return replace(like, name=program.name, program=program, note=f"as {name}, {path}")


def choose(only: str | None, scenario: str) -> list[Proxy]:
    """
    The proxies to measure: those that ``only`` names (comma-separated), else those that the scenario measures unasked.

    Raises: KeyError with the first unknown name, or with ``only`` where it names none.
    """
    if only is None:
        several = [
            proxy for proxy in PROXIES.values() if not proxy.only_in or scenario in proxy.only_in
        ]
    else:
        names = [name.strip() for name in only.split(",") if name.strip()]
        if not names:
            raise KeyError(only)
        several = [PROXIES[name] for name in dict.fromkeys(names)]
    return [proxy for proxy in several if scenario not in proxy.never_in]
