"""
What one setting of wsproxy.toml demands of another, and values that are well-formed and yet not what anybody means.

Driven by ``config.settings_file``, after each value was found to be of its kind; the words about units and texts also by the
checks of plugin-cfg.xml. Looks whether folders exist and files can be read (``config.settings_tls``). Must not read a file of settings.
"""

from __future__ import annotations

import ipaddress
import re
import shutil
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from wsproxy._fast.http.upgrade import is_protocol
from wsproxy.config.access_format import parse_format
from wsproxy.config.access_target import ACCESS_OFF, SYSLOG, parse_target
from wsproxy.config.address import MAX_PORT, is_loopback, parse_address
from wsproxy.config.check_content import file_flaws
from wsproxy.config.codes import code_flaw
from wsproxy.config.etcd_user import etcd_user
from wsproxy.config.group_secret import SETTING, read_group_secret
from wsproxy.config.keystore import IssuersError, KeyFileError, read_pem_pair
from wsproxy.config.problems import printable
from wsproxy.config.settings import (
    PLUGIN_OFF,
    FallbackSettings,
    ListenerSettings,
    Settings,
    fallback_files,
)
from wsproxy.config.settings_bridge import BridgeSettings
from wsproxy.config.settings_ha import HaSettings, check_groups, check_ha, no_etcd
from wsproxy.config.settings_probe import (
    ProbeClusterSettings,
    ProbeSettings,
    is_probing,
    probe_flaws,
    probe_of,
)
from wsproxy.config.settings_process import SHORTEST_HANG_S
from wsproxy.config.settings_tls import check_listener, check_upstream, group_context
from wsproxy.config.settings_told import AdminSettings, HealthSettings, LogSettings, TraceSettings
from wsproxy.config.values import MOST_CONNECT_S, duration_doubt, text_flaw
from wsproxy.errors import Severity, StartError

# where a value stands: names of tables and keys, and the index among repeated tables
KeyPath = tuple[str | int, ...]
# severity, code, where, sentence
Say = Callable[[Severity, str, KeyPath, str], None]

# RFC 9110 7.6.3: a pseudonym, or a host with its port.
_VIA = re.compile(r"(?=.{1,255}$)[A-Za-z0-9._-]+(:[0-9]{1,5})?")
# RFC 3986 3.3, without what may be spelled in more than one way.
_HEALTH_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,200}")
# Blanks mean something in it, and tabs.
_FREE_TEXTS = frozenset({("log", "access_format")})

# The longest that anybody means, in seconds; each setting allows a day, for who knows better.
_LONGEST_MEANT_S: dict[KeyPath, float] = {
    ("timeouts", "head_s"): 600,
    ("timeouts", "keepalive_s"): 3600,
    ("timeouts", "body_s"): 3600,
    ("timeouts", "shutdown_s"): 3600,
    ("upstream", "connect_s"): MOST_CONNECT_S,
    ("upstream", "pool_idle_s"): 3600,
    ("queue", "wait_s"): 600,
    ("probe", "interval_s"): 3600,
    ("probe", "timeout_s"): 600,
    ("probe", "slow_start_s"): 3600,
}


def text_doubt(at: KeyPath, text: str) -> str:
    """Why a text of the settings is not what anybody means, and what is allowed; empty where nothing speaks against it."""
    return "" if at in _FREE_TEXTS else text_flaw(text)


def check_together(settings: Settings, say: Say) -> None:
    """Tells what one setting demands of another; each value alone is known to be of its kind."""
    for index, listener in enumerate(settings.listeners):
        _check_listener(index, listener, say)
    for text in settings.explain.trusted:
        _check_network(text, ("explain", "trusted"), say)
    for name, text in check_upstream(settings.upstream.tls):
        _refuse(("upstream", "tls", name), text, say)
    _check_protocols(settings, say)
    _check_access_log(settings.log, say)
    _check_limits(settings, say)
    _check_fallback(settings.fallback, say)
    _check_probe(settings.probe, say)
    if 0 < settings.process.hang_s < SHORTEST_HANG_S:
        text = (
            f"found {settings.process.hang_s:g}; allowed is 0, or a number from {SHORTEST_HANG_S:g}"
        )
        _refuse(("process", "hang_s"), text, say)
    for code in settings.check.ignore:
        if flaw := code_flaw(code):
            _refuse(("check", "ignore"), flaw, say)
    _check_admin(settings.admin, say)
    _check_health(settings.health, say)
    _check_trace(settings.trace, say)
    _check_ha(settings, say)
    _check_durations(settings, say)
    _check_effects(settings, say)


def _check_admin(admin: AdminSettings, say: Say) -> None:
    """By TCP everybody may ask who can connect: there must be a token and a word that it may be read on its way, or nobody but this machine can."""
    at: KeyPath = ("admin", "listen")
    if not admin.listen:
        if admin.token_file:
            text = "found a file; allowed is none without admin.listen: the Unix socket asks for no token"
            _refuse(("admin", "token_file"), text, say)
        for name in ("certificate", "key", "unencrypted"):
            _warn_idle(("admin", name), admin, "without admin.listen", "with admin.listen", say)
        return
    _check_admin_tls(admin, say)
    try:
        address = parse_address(admin.listen, is_listener=True)
    except ValueError as error:
        _refuse(at, str(error), say)
        return
    if is_loopback(address):
        return
    if not (admin.unencrypted or admin.certificate or admin.key):
        text = (
            f'found "{admin.listen}", which others reach, and what goes there is not encrypted: who reads the token on its way can '
            f'do what an operator can; allowed is admin.certificate = "FILE" with admin.key = "FILE", "127.0.0.1:{address.port}", '
            f"to be reached by ssh -L, or admin.unencrypted = true where everybody on that network may know the token"
        )
        _refuse(at, text, say)
    if not admin.token_file:
        text = (
            f'found "{admin.listen}" without a token; allowed is admin.token_file = "FILE" with it, or an address of this '
            f'machine alone ("127.0.0.1:{address.port}"), where metrics and health need none'
        )
        _refuse(at, text, say)


def _check_admin_tls(admin: AdminSettings, say: Say) -> None:
    if not (admin.certificate or admin.key):
        return
    for name, other in (("certificate", "key"), ("key", "certificate")):
        if not getattr(admin, name):
            _refuse(("admin", other), f'found a file, but no admin.{name}; allowed is admin.{name} = "FILE" with it', say)  # fmt: skip
            return
    if admin.unencrypted:
        _refuse(("admin", "unencrypted"), "found true with admin.certificate; allowed is false: what goes there is encrypted", say)  # fmt: skip
    try:
        read_pem_pair(admin.certificate, admin.key, takes_password=False)
    except KeyFileError as error:
        _refuse(("admin", "certificate"), str(error), say)


def _check_health(health: HealthSettings, say: Say) -> None:
    for name, path in (("live_path", health.live_path), ("ready_path", health.ready_path)):
        if path and not _HEALTH_PATH.fullmatch(path):
            text = (
                f'found "{path}"; allowed is a path as clients send it, without a query: "/ready"'
            )
            _refuse(("health", name), text, say)
    if health.live_path and health.live_path == health.ready_path:
        text = f'found "{health.ready_path}" for both questions; allowed is a path of its own'
        _refuse(("health", "ready_path"), text, say)
    for port in health.ports:
        if not 0 < port <= MAX_PORT:
            text = f"found {port}; allowed are ports from 1 to {MAX_PORT}"
            _refuse(("health", "ports"), text, say)


def _check_trace(trace: TraceSettings, say: Say) -> None:
    if not trace.endpoint:
        for name in ("sample", "strangers", "service_name", "last_s", "headers_file"):
            _warn_idle(("trace", name), trace, "without trace.endpoint", "with trace.endpoint", say)
        return
    allowed = 'allowed is the URL of a collector, "http://127.0.0.1:4318", without a user, a query or a fragment'
    found = f'found "{printable(trace.endpoint)}"'
    try:
        url = urlsplit(trace.endpoint)
        is_good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_good = False
    else:
        if url.username is not None or url.password is not None:
            # Not shown: a password may stand there.
            found = "found a user in it; credentials belong into trace.headers_file"
        is_good = is_good and not (url.query or url.fragment or "@" in url.netloc)
    if not is_good:
        _refuse(("trace", "endpoint"), f"{found}; {allowed}", say)


def _check_ha(settings: Settings, say: Say) -> None:
    ha = settings.ha
    flaws = list(check_ha(ha))
    for name, text in flaws:
        _refuse(("ha", name), text, say)
    _check_parts_of_ha(ha, say)
    initials = [settings.probe.initial, *(each.initial for each in settings.probe.cluster)]
    if ha.one_prober and any(each not in (None, "up") for each in initials):
        text = 'found true with another probe.initial than "up": where another member asks, nothing would say that a new server is up; allowed with "up"'
        _refuse(("ha", "one_prober"), text, say)
    if ha.one_prober and not is_probing(settings.probe):
        _warn_idle(("ha", "one_prober"), ha, 'with probe.type = "off"', "with probes", say)
    if ha.store == "etcd" and not flaws:
        try:
            group_context(ha)
        except KeyFileError as error:
            _refuse(("ha", _file_of(error)), str(error), say)
        _check_user(("ha",), ha, say)
    try:
        read_group_secret(ha)
    except StartError as error:
        _refuse(("ha", "session_key"), str(error).removeprefix(f"{SETTING}: "), say)
    if ha.store == "embedded" and shutil.which(ha.etcd) is None:
        _refuse(("ha", "etcd"), no_etcd(ha.etcd), say)
    if ha.store == "off":
        idle, allowed = 'with store = "off": nobody publishes', 'with store = "etcd"'
        _warn_idle(("ha", "config_folder"), ha, idle, allowed, say)
    if ha.store != "off":
        for name in (
            ("etcd", "data_dir")
            if ha.store == "etcd"
            else ("ca", "certificate", "key", "session_key")
        ):
            idle = f'with store = "{ha.store}"'
            allowed = (
                'with store = "embedded"'
                if ha.store == "etcd"
                else 'with store = "etcd": wsproxy makes its own'
            )
            _warn_idle(("ha", name), ha, idle, allowed, say)


def _check_parts_of_ha(ha: HaSettings, say: Say) -> None:
    flaws = list(check_groups(ha))
    for at, text in flaws:
        _refuse(("ha", *at), text, say)
    for index, bridge in enumerate(() if flaws else ha.bridges):
        try:
            group_context(bridge)
        except KeyFileError as error:
            _refuse(("ha", "bridge", index, _file_of(error)), str(error), say)
        _check_user(("ha", "bridge", index), bridge, say)


def _file_of(error: KeyFileError) -> str:
    """The setting that names the file which ``group_context`` could not use."""
    return "ca" if isinstance(error, IssuersError) else "certificate"


def _check_user(at: KeyPath, settings: HaSettings | BridgeSettings, say: Say) -> None:
    """Whether its password can be read."""
    if (user := etcd_user(settings)) is not None:
        at = (*at, "password_file")
        try:
            user.password()
        except StartError as error:
            _refuse(at, str(error).removeprefix(f"{dotted(at)}: "), say)


def dotted(at: KeyPath) -> str:
    """The setting's name as it is written in messages and documents."""
    return ".".join(str(part) for part in at if isinstance(part, str))


def _refuse(at: KeyPath, text: str, say: Say) -> None:
    say("error", "setting-value", at, f"{dotted(at)}: {text}")


def _check_listener(index: int, listener: ListenerSettings, say: Say) -> None:
    at: KeyPath = ("listener", index)
    for text in listener.proxy_protocol:
        _check_network(text, (*at, "proxy_protocol"), say)
    for name, text in check_listener(listener):
        _refuse((*at, name), text, say)
    if not listener.certificates:
        for name in ("min_version", "ciphers"):
            _warn_idle((*at, name), listener, "without certificates", "with certificates", say)
    elif listener.min_version == "1.3":
        idle = 'with min_version = "1.3", whose suites are its own'
        _warn_idle((*at, "ciphers"), listener, idle, 'with min_version = "1.2"', say)


def _check_network(text: str, at: KeyPath, say: Say) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        allowed = "allowed is an address or a network like 10.0.0.0/8"
        _refuse(at, f'found "{printable(text)}" ({printable(str(error))}); {allowed}', say)


def _check_protocols(settings: Settings, say: Say) -> None:
    """Tells what is wrong with names that go into HTTP fields."""
    via = settings.http.via
    if via and not _VIA.fullmatch(via):
        allowed = "allowed is a word of at most 255 letters, digits, - . _, or HOST:PORT"
        _refuse(("http", "via"), f'found "{printable(via)}"; {allowed}', say)
    for text in settings.upgrade.protocols:
        if not is_protocol(text):
            allowed = 'allowed is the name of a protocol, like "websocket", or "*", but never h2c, h2, http, or tls'
            _refuse(("upgrade", "protocols"), f'found "{printable(text)}"; {allowed}', say)


def _check_access_log(log: LogSettings, say: Say) -> None:
    if log.access != ACCESS_OFF:
        try:
            parse_target(log.access)
        except ValueError as error:
            _refuse(("log", "access"), str(error), say)
    try:
        parse_format(log.access_format)
    except ValueError as error:
        _refuse(("log", "access_format"), str(error), say)


def _check_limits(settings: Settings, say: Say) -> None:
    limits = settings.limits
    if limits.target_bytes > limits.head_bytes:
        text = f"found {limits.target_bytes}; allowed is at most limits.head_bytes, {limits.head_bytes}"
        _refuse(("limits", "target_bytes"), text, say)


def _check_fallback(fallback: FallbackSettings, say: Say) -> None:
    mode: KeyPath = ("fallback", "mode")
    for name, word in (("directory", "FOLDER"), ("upstream", "HOST:PORT")):
        at: KeyPath = ("fallback", name)
        value = getattr(fallback, name)
        if value and fallback.mode != name:
            # Refused, not warned of: whoever names it means it, and would get a 404 for every page.
            found = f'found "{value}", which has no effect with mode = "{fallback.mode}"'
            _refuse(at, f'{found}; allowed with mode = "{name}"', say)
        elif fallback.mode == name and not value:
            found = f'found "{name}" without fallback.{name}'
            _refuse(mode, f'{found}; allowed with {name} = "{word}"', say)
        elif value and name == "upstream":
            try:
                parse_address(value, is_listener=False)
            except ValueError as error:
                _refuse(at, str(error), say)
    files = fallback_files(fallback)
    if files is not None and files.root:
        for key, text in file_flaws(files):
            _refuse(("fallback", "directory" if key == "root" else key), text, say)
    elif files is None:
        for name in ("index", "precompressed", "cache_control", "charset"):
            if getattr(fallback, name) != getattr(FallbackSettings(), name):
                text = f'found it with mode = "{fallback.mode}", where it has no effect; allowed with mode = "directory"'
                _refuse(("fallback", name), text, say)


def _check_probe(probe: ProbeSettings, say: Say) -> None:
    known: set[str] = set()
    tables: list[tuple[KeyPath, ProbeSettings | ProbeClusterSettings]] = [(("probe",), probe)]
    tables += [(("probe", "cluster", index), own) for index, own in enumerate(probe.cluster)]
    for at, table in tables:
        for name, text in probe_flaws(table):
            _refuse((*at, name), text, say)
        if isinstance(table, ProbeClusterSettings):
            if table.name in known:
                text = f'found "{printable(table.name)}" again; allowed is one table for each ServerCluster'
                _refuse((*at, "name"), text, say)
            known.add(table.name)
        kind = probe.type if isinstance(table, ProbeSettings) else probe_of(probe, table.name).type
        if kind == "tcp":
            for name in ("path", "host", "status", "body"):
                idle = 'with type = "tcp": nothing is asked for'
                _warn_idle((*at, name), table, idle, 'with type = "http"', say)
        elif kind == "off" and not (isinstance(table, ProbeSettings) and is_probing(probe)):
            for name in table.__struct_fields__:
                if name not in ("name", "type", "cluster", "slow_start_s"):
                    idle = 'with type = "off": nothing is probed'
                    _warn_idle((*at, name), table, idle, 'with type = "http"', say)


def _check_durations(settings: Settings, say: Say) -> None:
    for at, most_s in _LONGEST_MEANT_S.items():
        table, name = at
        value = getattr(getattr(settings, str(table)), str(name))
        if doubt := duration_doubt(value, most_s):
            say("warning", "setting-unit", at, f"{dotted(at)}: found {value:g}{doubt}")


def _check_effects(settings: Settings, say: Say) -> None:
    """Warns of settings that others make idle. A default is none: samples hold them all."""
    log, queue, upstream = settings.log, settings.queue, settings.upstream
    if log.access == ACCESS_OFF:
        for name in ("access_format", "access_only", "access_sessions"):
            idle = f'with log.access = "{ACCESS_OFF}"'
            _warn_idle(("log", name), log, idle, 'with access = "FILE"', say)
    if "slow" not in log.access_only:
        idle = f"with access_only = {list(log.access_only)}".replace("'", '"')
        _warn_idle(("log", "access_slow_s"), log, idle, 'with access_only = ["slow"]', say)
    if not log.access.startswith(SYSLOG):
        idle = f'with log.access = "{printable(log.access)}"'
        _warn_idle(("log", "access_facility"), log, idle, 'with access = "syslog"', say)
    if log.plugin == PLUGIN_OFF:
        idle = f'with log.plugin = "{PLUGIN_OFF}"'
        _warn_idle(("log", "plugin_dates"), log, idle, "with http_plugin.log", say)
    if queue.size == 0:
        for name in ("wait_s", "affinity_waits"):
            idle = "with queue.size = 0: nobody waits"
            _warn_idle(("queue", name), queue, idle, "with size above 0", say)
    if upstream.proxy_protocol != "none":
        idle = f'with proxy_protocol = "{upstream.proxy_protocol}": no connection is kept'
        for name in ("pool_size", "pool_idle_s"):
            _warn_idle(("upstream", name), upstream, idle, 'with proxy_protocol = "none"', say)
    elif upstream.pool_size == 0:
        idle = "with pool_size = 0: no connection is kept"
        _warn_idle(("upstream", "pool_idle_s"), upstream, idle, "with pool_size above 0", say)
    if not settings.upgrade.protocols:
        idle = "with upgrade.protocols = []: nothing is upgraded"
        allowed = "with a protocol in upgrade.protocols"
        _warn_idle(("timeouts", "tunnel_s"), settings.timeouts, idle, allowed, say)


def _warn_idle(at: KeyPath, table: msgspec.Struct, idle: str, allowed: str, say: Say) -> None:
    """``idle``: why the setting ``at`` of ``table`` does nothing, where it is not the default."""
    name = str(at[-1])
    value: Any = getattr(table, name)
    default = next(f.default for f in msgspec.structs.fields(table) if f.name == name)
    if value != default:
        shown = msgspec.json.encode(value).decode()
        found = f"found {shown if len(shown) <= 60 else f'{shown[:57]}...'}"
        sentence = f"{dotted(at)}: {found}, which has no effect {idle}; allowed {allowed}"
        say("warning", "setting-no-effect", at, sentence)
