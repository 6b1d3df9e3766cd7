"""Whatever is done to a file, reading it ends, and ends in a Config or in ConfigRefusedError."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.golden import CASES, SAMPLES, source, split
from wsproxy.config.xml import parse_config
from wsproxy.errors import ConfigRefusedError

SEEDS = [path.read_bytes() for path in sorted(SAMPLES.glob("*.xml"))]
SEEDS += [source(split(path.read_text())[0]) for path in sorted(CASES.glob("v*.txt"))]
# what stands between right and wrong in these files
TOKENS = [
    *(
        b'"',
        b"'",
        b"<",
        b">",
        b"/>",
        b"&",
        b"&#0;",
        b"&#x9b;",
        b"]]>",
        b"<![CDATA[",
        b"-->",
        b"<!--",
    ),
    *(
        b"<?xml",
        b"<!DOCTYPE x [",
        b"<!ENTITY a 'b'>",
        b"\x00",
        b"\xff",
        b"\xc3",
        b"\r",
        b"${x}",
        b"*",
    ),
    *(
        b":",
        b"[",
        b"]",
        b"-1",
        b"99999999999999999999",
        b'Name=""',
        b"<Server/>",
        b"</Config>",
        b"<Config>",
    ),
    *(b'<Route ServerCluster="c"/>', b"xmlns='u'", b"<a:b/>", b"encoding='utf-16'"),
]

edits = st.lists(
    st.tuples(
        st.floats(0, 1),  # where, as a share of the length
        st.integers(0, 60),  # how many bytes go
        st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6)),  # what comes
    ),
    max_size=6,
)
fast = settings(max_examples=400)
# Of processor time, which other processes do not take: what is slow for few bytes never ends for many.
MOST_CPU_S = 2.0


def read(data: bytes) -> None:
    """Any other exception than the refusal goes up and fails the test."""
    refusal: ConfigRefusedError | None = None
    severities: set[str] = set()
    began = process_time()
    try:
        severities = {problem.severity for problem in parse_config(data, "f").problems}
    except ConfigRefusedError as refused:
        refusal = refused
    assert process_time() - began < MOST_CPU_S
    if refusal is None:
        assert severities <= {"warning"}
    else:
        assert any(problem.severity == "error" for problem in refusal.problems)
        assert str(refusal)


@fast
@given(st.sampled_from(SEEDS), edits)
def test_edited_files_load_or_are_refused(
    seed: bytes, changes: list[tuple[float, int, bytes]]
) -> None:
    data = seed
    for where, gone, come in changes:
        at = int(where * len(data))
        data = data[:at] + come + data[at + gone :]
    read(data)


@fast
@given(st.sampled_from(SEEDS), st.data())
def test_edited_values_load_or_are_refused(seed: bytes, data: st.DataObject) -> None:
    """Only what stands in quotes changes, so that the file stays XML and the checks get their share."""
    parts = seed.split(b'"')
    texts = st.sampled_from(
        ["", "*", "-1", "0", "true", "a", "c", "h:*", "[::1]:80", "/*", "ü", "${x}"]
    )
    for at in data.draw(st.lists(st.integers(0, len(parts) // 2 - 1), min_size=1, max_size=12)):
        parts[2 * at + 1] = data.draw(texts).encode()
    read(b'"'.join(parts))


@pytest.mark.parametrize("seed", SEEDS[:6], ids=lambda seed: f"{len(seed)} bytes")
def test_a_file_cut_at_any_byte_is_refused(seed: bytes) -> None:
    whole = seed.rstrip()
    step = max(
        1, len(whole) // 300
    )  # every byte of the small ones, some hundred places of the large ones
    for end in range(0, len(whole), step):
        with pytest.raises(ConfigRefusedError):
            parse_config(whole[:end], "f")
