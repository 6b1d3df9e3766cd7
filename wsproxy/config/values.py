"""
Values that are well-formed and yet not what anybody means: blanks where none belong, units mistaken, hosts with a scheme.

Driven by ``config.check_values`` (plugin-cfg.xml) and ``config.check_settings`` (wsproxy.toml). Pure: takes a value, returns words.
"""

from __future__ import annotations

import ipaddress
import re

# Linux gives up a connection after 127 s (tcp_syn_retries = 6): no longer wait is ever waited for.
MOST_CONNECT_S = 127

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^]]*\]|[^:]*):(?P<port>[0-9]{1,5})\Z")
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_IN_A_HOST = re.compile(r"[\w.-]+\Z")  # underscores too: names of containers have them


def text_flaw(text: str) -> str:
    """What no name, path or word should have in it, as ``, which ...; allowed is Y``; empty: nothing."""
    if found := _CONTROL.search(text):
        what = "a line break" if found[0] in "\r\n\x85\u2028\u2029" else "a control character"
        return f", which has {what} in it; allowed is text without"
    if text != text.strip():
        return ", which begins or ends with a blank; allowed is the same without"
    return ""


def host_flaw(text: str) -> tuple[str, str] | None:
    """Why a text is no host name or address (IPv6 with or without brackets), and what is meant; None where it is one."""
    bare = text.strip()
    if flaw := text_flaw(text):
        what, _, _ = flaw.removeprefix(", which ").partition(";")
        return what, f'"{bare}"' if bare.isprintable() else "a host name or an address"
    if scheme := _SCHEME.match(text):
        rest = re.split(r"[/?#]", text[scheme.end() :])[0]
        return "has a scheme", _meant(rest)
    if is_ipv6(text):
        return None
    if split := _HOST_AND_PORT.match(text):
        return "has a port", f'"{split["host"]}", and the port in Port'
    if any(character.isspace() for character in text):
        return "has a blank in it", "a host name or an address"
    if "/" in text:
        return "has a path", _meant(text.partition("/")[0])
    if not _IN_A_HOST.match(text):
        return "has a character that no host name has", "a host name or an address"
    return None


def is_ipv6(text: str) -> bool:
    """Whether it is an IPv6 address, in brackets or without, also one with a zone."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def is_windows_path(path: str) -> bool:
    """Whether it is an absolute path of Windows, with a drive's letter or a share."""
    return bool(_WINDOWS_PATH.match(path))


def _meant(host: str) -> str:
    """The host out of what stood behind a scheme or before a path."""
    if not (split := _HOST_AND_PORT.match(host)):
        return f'"{host}"' if host else "a host name or an address"
    return f'"{split["host"]}", and the port in Port'


def in_words(seconds: float) -> str:
    """A long time as people say it: ``16 h 40 min``."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left_s = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "min"), (left_s, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def duration_doubt(value_s: float, most_s: float) -> str:
    """Why so many seconds were hardly meant, as ``, which is ...; allowed is Y``; empty: they may be."""
    if abs(value_s) <= most_s:
        return ""
    meant = "seconds"
    if abs(value_s) >= 1000:
        meant = (
            f"seconds: {_number(value_s / 1000)} where {_number(value_s)} milliseconds were meant"
        )
    return f", which is {in_words(abs(value_s))}; allowed is {meant}"
