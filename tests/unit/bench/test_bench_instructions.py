"""What ``bench.instructions`` makes of callgrind's dumps and of kept counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.instructions.callgrind import read_dump, readable
from bench.instructions.kept import MOST_GROWTH, Kept, grown, other_facts

# Two functions of ours, one that calls itself and libc's; a call line's next one is what the called one took.
DUMP = """\
version: 1
creator: callgrind-3.19.0
events: Ir
ob=(1) /x/wsproxy/_fast/http/head.so
fl=(1) head.c
fn=(1) __pyx_f_7wsproxy_5_fast_4http_4head_parse_request
10 7
+2 3
cfn=(1)
calls=1 10
+1 500
cob=(2) /lib/libc.so.6
cfn=(2) memchr
calls=2 0
* 40
ob=(2)
fn=(2)
0 40
ob=(1)
fn=(3) __pyx_f_7wsproxy_5_fast_4http_4head_parse_request'2
-1 5
fn=(1)
12 1

totals: 56
"""


def test_each_function_has_what_it_took_itself(tmp_path: Path) -> None:
    """Recursions and clones belong to their function, what it called does not."""
    path = tmp_path / "dump"
    path.write_text(DUMP)
    assert read_dump(path) == {"http.head.parse_request": 16, "memchr": 40}
    assert read_dump(path, lambda ob: "/_fast/" in ob) == {"http.head.parse_request": 16}


def test_dump_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_text(DUMP.replace("+2 3\n", ""))
    with pytest.raises(ValueError, match="found 53 instructions; allowed are the 56"):
        read_dump(path)


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("__pyx_f_7wsproxy_5_fast_3net_6stream_6Stream_push", "net.stream.Stream.push"),
        ("__pyx_pw_7wsproxy_5_fast_4http_4head_1read_request", "http.head.read_request"),
        ("__pyx_f_7wsproxy_5_fast_4http_4head_parse.isra.0.cold", "http.head.parse"),
        ("memchr'2", "memchr"),
        ("__Pyx_GetItemInt_Fast", "__Pyx_GetItemInt_Fast"),
    ],
)
def test_names_are_those_of_the_source(symbol: str, name: str) -> None:
    assert readable(symbol) == name


def test_growth_beyond_the_limit_names_the_functions_that_grew() -> None:
    """The one that grew most first; what became less is no part of it."""
    kept = {"scan": 600.0, "copy": 400.0, "gone": 20.0}
    assert grown(kept, {"scan": 600.0, "copy": 400.0 + 1020 * MOST_GROWTH, "gone": 20.0}) == []
    assert grown(kept, {"scan": 640.0, "copy": 400.0, "new": 60.0}) == [
        "new: 0 -> 60 (+60)",
        "scan: 600 -> 640 (+40)",
    ]


def test_counts_of_another_compiler_are_no_measure() -> None:
    kept = Kept({"compiler": "gcc 12", "Cython": "3.3"}, {})
    assert other_facts(kept, {"compiler": "gcc 12", "Cython": "3.3", "more": "x"}) == []
    assert other_facts(kept, {"compiler": "gcc 14", "Cython": "3.3"}) == [
        "compiler: found gcc 14; the counts were kept with gcc 12"
    ]
