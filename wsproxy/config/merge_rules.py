"""
What a merge does where its inputs do not agree: the rules that can be chosen, and for each attribute which value is taken.

Driven by ``config.merge`` and its parts. Pure. docs/merge.md has the same tables; a test compares.
Each choice of a value is of one fixed order, so that it does not matter which input is looked at first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from wsproxy.config.attributes import allowed_values, parse_value, specs_of
from wsproxy.config.merge_notes import Notes, Place
from wsproxy.config.model import (
    AttributeSpec,
    Config,
    Element,
    Extra,
    Log,
    Property,
    Route,
    Server,
    ServerCluster,
    ServerRef,
    Transport,
    TrustedProxy,
    Uri,
    UriGroup,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.config.problems import listed, nearest, quoted, shown
from wsproxy.errors import StartError

# rule -> its choices, the default first (docs/merge.md)
CHOICES: dict[str, tuple[str, ...]] = {
    "shared-uri": ("join", "keep", "refuse"),
    "cluster-name": ("split", "join", "refuse"),
    "server-name": ("rename", "refuse"),
    "clone-id": ("refuse", "keep"),
    "standalone": ("refuse", "join"),
    "overlap": ("narrower", "refuse"),
    "settings": ("settle", "refuse"),
}

How = Literal[
    "smaller", "larger", "true", "false", "first", "last", "text", "refuse", "drop", "identity"
]


@dataclass(frozen=True, slots=True)
class Settling:
    """Which of several values of one attribute is taken; ``unlimited``: numbers that mean no limit, larger than all others."""

    how: How
    unlimited: tuple[int, ...] = ()


_TRUE, _FALSE = Settling("true"), Settling("false")
_SMALLER, _LARGER = Settling("smaller"), Settling("larger")
_REFUSE, _IDENTITY = Settling("refuse"), Settling("identity")
_TEXT, _FIRST = Settling("text"), Settling("first")

# identity: it says what the element is, or where it belongs; two values are two elements
SETTLINGS: dict[type, dict[str, Settling]] = {
    Config: {
        "refresh_interval_s": Settling("smaller", (-1,)),
        "ignore_dns_failures": _TRUE,
        "as_disable_nagle": _TRUE,
        "iis_disable_nagle": _TRUE,
        "iis_plugin_priority": _FIRST,
        "app_server_port_preference": _REFUSE,
        "response_chunk_size_kb": _LARGER,
        "accept_all_content": _TRUE,
        "chunked_response": _TRUE,
        "vhost_matching_compat": _REFUSE,
        "fips_enable": _TRUE,
        "ssl_consolidate": _TRUE,
        "trusted_proxy_enable": _REFUSE,
        "http_max_headers": _LARGER,
        "kill_web_server_start_up_on_parse_err": _TRUE,
        "use_insecure": _FALSE,
        "strict_security": _TRUE,
        "secure_host_verification": _TRUE,
        "host_verification_startup_check": _TRUE,
        "os400_convert_query_string_to_job_ccsid": _TRUE,
        "sslpkcs_driver": _REFUSE,
        "sslpkcs_password": _REFUSE,
        "config_hash": Settling("drop"),
    },
    Log: {"name": _TEXT, "log_level": Settling("last")},
    Property: {"name": _IDENTITY, "value": _TEXT},
    VirtualHostGroup: {"name": _IDENTITY},
    VirtualHost: {"name": _IDENTITY},
    TrustedProxy: {"name": _IDENTITY},
    ServerCluster: {
        "name": _IDENTITY,
        "load_balance": _FIRST,
        "retry_interval_s": _SMALLER,
        "remove_special_headers": _TRUE,
        "clone_separator_change": _REFUSE,
        "post_size_limit_kb": Settling("larger", (-1,)),
        "post_buffer_size_kb": Settling("larger", (-1,)),
        "server_io_timeout_retry": Settling("smaller", (-1,)),
        "get_dwlm_table": _TRUE,
        "ignore_affinity_requests": _TRUE,
        "mark_busy_down": _FALSE,
    },
    Server: {
        "name": _IDENTITY,
        "clone_id": _IDENTITY,
        "load_balance_weight": _LARGER,
        "connect_timeout_s": Settling("larger", (0,)),
        "server_io_timeout_s": Settling("larger", (0,)),
        "ws_server_io_timeout_s": Settling("larger", (0,)),
        "ws_server_idle_timeout_s": Settling("larger", (0,)),
        "max_connections": Settling("smaller", (-1, 0)),
        "extended_handshake": _TRUE,
        "wait_for_continue": _TRUE,
    },
    Transport: {
        "hostname": _IDENTITY,
        "port": _IDENTITY,
        "protocol": _IDENTITY,
        "hostname_alias": _REFUSE,
        "connection_ttl_s": _SMALLER,
    },
    ServerRef: {"name": _IDENTITY},
    UriGroup: {"name": _IDENTITY},
    Uri: {"name": _IDENTITY, "affinity_cookie": _REFUSE, "affinity_url_identifier": _REFUSE},
    Route: {"server_cluster": _IDENTITY, "uri_group": _IDENTITY, "virtual_host_group": _IDENTITY},
}
# an attribute that may be decided with --rules NAME=VALUE; names that several elements have are not among them
_SETTABLE: dict[str, tuple[type, str, AttributeSpec]] = {
    spec.name: (cls, name, spec)
    for cls, settlings in SETTLINGS.items()
    for name, spec in specs_of(cls).items()
    if settlings[name].how not in ("identity", "drop") and spec.name not in ("Name", "Value")
}

WORDS: dict[How, str] = {
    "smaller": "the smaller one",
    "larger": "the larger one",
    "true": "true",
    "false": "false",
    "first": "the first of the allowed words",
    "last": "the last of the allowed words",
    "text": "the first one by alphabet",
    "drop": "none of them",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What was chosen; ``values``: field of a class -> the value that is taken whatever the inputs say."""

    choices: dict[str, str] = field(
        default_factory=lambda: {name: choices[0] for name, choices in CHOICES.items()}
    )
    values: dict[tuple[type, str], Any] = field(default_factory=dict)

    def __getitem__(self, rule: str) -> str:
        """The choice for this rule."""
        return self.choices[rule]

    def named_values(self) -> list[tuple[str, ...]]:
        """The attributes that are decided, and their values as they may be shown."""
        return [
            tuple(shown(specs_of(cls)[name].name, _text(value)).split("=", 1))
            for (cls, name), value in self.values.items()
        ]


def read_rules(texts: Iterable[str], *, keep_clusters: bool = False) -> Rules:
    """
    The rules of ``--rules NAME=CHOICE[,...]``, on top of the defaults.

    Raises:
        StartError: there is no such rule or choice.
    """
    choices = {name: options[0] for name, options in CHOICES.items()}
    values: dict[tuple[type, str], Any] = {}
    if keep_clusters:
        choices["shared-uri"] = "keep"
    for text in texts:
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, choice = part.partition("=")
            if name in CHOICES:
                if choice not in CHOICES[name]:
                    raise StartError(
                        f"--rules: found {part}; allowed is {name}={' or '.join(CHOICES[name])}"
                    )
                choices[name] = choice
            elif name in _SETTABLE and equals:
                cls, attribute, spec = _SETTABLE[name]
                value = parse_value(spec, choice)
                if value is None:
                    raise StartError(
                        f"--rules: found {part}; allowed is {name}= and {allowed_values(spec)}"
                    )
                values[cls, attribute] = value
            else:
                likely = nearest(name, [*CHOICES, *_SETTABLE])
                hint = f"did you mean {likely}?" if likely else f"allowed: {', '.join(CHOICES)}"
                raise StartError(
                    f"--rules: found {part}; {hint}, or an attribute and its value, as VHostMatchingCompat=true"
                )
    return Rules(choices, values)


Placed = tuple[Place, Any]  # an object of the model and where it stands


def settle(cls: type, of: str, objects: Sequence[Placed], rules: Rules, notes: Notes) -> Any:
    """
    One object for several that are the same thing: each attribute by its rule, the rest as the first one has it.

    ``of``: what it is called. Children of elements are not looked at.
    """
    first = objects[0][1]
    if all(each == first and each.written == first.written for _, each in objects[1:]):
        return first
    changes: dict[str, Any] = {}
    for name, spec in specs_of(cls).items():
        found = [(where, getattr(each, name)) for where, each in objects]
        values = {value for _, value in found}
        forced = rules.values.get((cls, name))
        if forced is not None and len(values) > 1:
            changes[name] = forced
            told = shown(spec.name, _text(forced))
            words, places = _told(spec, of, found)
            notes.decide("settings", words, f"taken is {told}, as --rules says", places)
        elif len(values) > 1 and SETTLINGS[cls][name].how != "identity":
            value = _settle_one(SETTLINGS[cls][name], spec, of, found, rules, notes)
            if value != found[0][1]:
                changes[name] = value
    extra = settle_extra(of, objects, notes)
    if extra != first.extra:
        changes["extra"] = extra
    written = tuple(dict.fromkeys(name for _, each in objects for name in each.written))
    if written != first.written:
        changes["written"] = written
    return replace(first, **changes) if changes else first


def _settle_one(
    settling: Settling,
    spec: AttributeSpec,
    of: str,
    found: Sequence[tuple[Place, Any]],
    rules: Rules,
    notes: Notes,
) -> Any:
    values = {value for _, value in found}
    words, places = _told(spec, of, found)
    if settling.how == "drop":
        notes.decide("settings", words, "left out, as it is of one file only", places)
        return None
    set_values = values - {None, ""} if spec.kind == "str" else values - {None}
    if len(set_values) == 1:
        (value,) = set_values
        notes.decide("settings", words, f"taken is {shown(spec.name, _text(value))}", places)
        return value
    if settling.how == "refuse" or rules["settings"] == "refuse":
        way = (
            f"one value, or --rules {spec.name}=VALUE"
            if spec.name in _SETTABLE
            else "one value in all files"
        )
        notes.refuse("settings", words, way, places)
        return found[0][1]
    value = _ORDERS[settling.how](settling, spec, set_values)
    taken = f"taken is {shown(spec.name, _text(value))}, {WORDS[settling.how]}"
    notes.decide("settings", words, taken, places)
    return value


def _told(
    spec: AttributeSpec, of: str, found: Sequence[tuple[Place, Any]]
) -> tuple[str, list[Place]]:
    """What was found, and where."""
    values = list(dict.fromkeys(_text(value) for _, value in found))
    told = " and ".join(shown(spec.name, value) if value else f"no {spec.name}" for value in values)
    return f"{told} on {of}", [place for place, _ in found]


def _text(value: object) -> str:
    """As it stands in the file."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _size(settling: Settling) -> Callable[[int], tuple[float, int]]:
    """Order of numbers; ServerIOTimeout may be negative: its amount counts, and of two alike the one that marks nothing down."""
    negatives_are_amounts = settling == Settling("larger", (0,))

    def size(value: int) -> tuple[float, int]:
        if value in settling.unlimited:
            return float("inf"), value
        return (abs(value) if negatives_are_amounts else value), value

    return size


def _smallest(settling: Settling, _spec: AttributeSpec, values: set[Any]) -> Any:
    return min(values, key=_size(settling))


def _largest(settling: Settling, _spec: AttributeSpec, values: set[Any]) -> Any:
    return max(values, key=_size(settling))


_ORDERS: dict[How, Callable[[Settling, AttributeSpec, set[Any]], Any]] = {
    "smaller": _smallest,
    "larger": _largest,
    "true": lambda _settling, _spec, _values: True,
    "false": lambda _settling, _spec, _values: False,
    "first": lambda _settling, spec, values: min(values, key=spec.allowed.index),
    "last": lambda _settling, spec, values: max(values, key=spec.allowed.index),
    "text": lambda _settling, _spec, values: min(values),
}


def settle_extra(of: str, objects: Sequence[Placed], notes: Notes) -> Extra | None:
    """What is not known at these elements: all of it; where an attribute has several values, the first one by alphabet."""
    extras = [(place, each.extra) for place, each in objects if each.extra is not None]
    if not extras:
        return None
    return _join_extras(of, extras, notes)


def _join_extras(of: str, extras: Sequence[tuple[Place, Extra]], notes: Notes) -> Extra:
    values: dict[str, list[tuple[Place, str]]] = {}
    elements: dict[Element, None] = {}
    lists: dict[str, list[tuple[Place, Extra]]] = {}
    for place, extra in extras:
        for name, value in extra.attributes:
            values.setdefault(name, []).append((place, value))
        elements.update(dict.fromkeys(extra.elements))
        for name, inner in extra.lists:
            lists.setdefault(name, []).append((place, inner))
    for name, found in values.items():
        different = list(dict.fromkeys(value for _, value in found))
        if len(different) > 1:
            told = " and ".join(shown(name, value) for value in different)
            notes.decide(
                "settings",
                f"{told} on {of}, an attribute that is not known",
                f"taken is {shown(name, min(different))}, {WORDS['text']}",
                [place for place, _ in found],
            )
    return Extra(
        tuple((name, min(value for _, value in found)) for name, found in values.items()),
        tuple(elements),
        tuple(
            (name, _join_extras(f"{name} of {of}", inner, notes)) for name, inner in lists.items()
        ),
    )


def names_text(names: Iterable[str]) -> str:
    """Names in quotes, the first few of them."""
    return listed(list(dict.fromkeys(names)))


def called(element: str, name: str) -> str:
    """``Server "s1"``."""
    return f"{element} {quoted(name)}"
