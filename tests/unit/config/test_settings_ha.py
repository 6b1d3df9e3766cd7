"""[ha]: what is refused, and that HAManager's names are taken."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from wsproxy.config.etcd_user import etcd_user
from wsproxy.config.group_secret import read_group_secret
from wsproxy.config.settings_file import load_text, parse_settings
from wsproxy.config.settings_ha import HaSettings, least_ttl_s
from wsproxy.errors import ConfigRefusedError
from wsproxy.ha.certs import make_certificates

FILES = 'ca = "a"\ncertificate = "b"\nkey = "c"\n'


def ha_of(text: str) -> HaSettings:
    return parse_settings(f"[ha]\n{text}", Path("wsproxy.toml")).ha


ETCD = 'store = "etcd"\nendpoints = ["http://127.0.0.1:1"]\n'


def refusal_of(text: str) -> str:
    with pytest.raises(ConfigRefusedError) as refused:
        ha_of(text)
    return str(refused.value)


def test_off_by_default() -> None:
    """A proxy alone is in no group."""
    assert not parse_settings("", Path("wsproxy.toml")).ha.is_on


def test_names_of_hamanager_are_taken() -> None:
    """IBM_CS_FD_PERIOD_SECS and IBM_CS_FD_CONSECUTIVE_MISSED mean period_s and missed."""
    ha = ha_of(
        'store = "embedded"\nIBM_CS_FD_PERIOD_SECS = 10\nIBM_CS_FD_CONSECUTIVE_MISSED = 20\n'
    )
    assert (ha.period_s, ha.missed, ha.ttl_s) == (10.0, 20, 200)


def test_both_names_are_refused() -> None:
    """Nobody has to guess which one holds."""
    assert "wsproxy.toml:3: ha.IBM_CS_FD_PERIOD_SECS: found it beside period_s" in refusal_of(
        "period_s = 1.0\nIBM_CS_FD_PERIOD_SECS = 2\n"
    )


def test_a_bad_value_by_the_other_name_has_its_line() -> None:
    """The line is that of the name that was written."""
    assert "wsproxy.toml:2: ha.missed: found 1; allowed is" in refusal_of(
        "IBM_CS_FD_CONSECUTIVE_MISSED = 1\n"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('store = "etcd"\n', "without endpoints"),
        ('store = "etcd"\nendpoints = ["etcd1:2379"]\n', "no URL of a host"),
        ('store = "etcd"\nendpoints = ["http://127.0.0.1"]\n', "has no port"),
        ('store = "etcd"\nendpoints = ["http://127.0.0.1:99999"]\n', "Port out of range"),
        ('store = "etcd"\nendpoints = ["http://u:p@127.0.0.1:1/"]\n', "more than host and port"),
        ('store = "etcd"\nendpoints = ["http://10.0.0.1:2379"]\n', "http to another machine"),
        ('store = "etcd"\nendpoints = ["https://10.0.0.1:2379"]\n', "ha.ca: found none"),
        (
            f'store = "etcd"\ntls = "off"\nendpoints = ["https://10.0.0.1:2379"]\n{FILES}',
            'ha.tls: found "off"',
        ),
        (
            'store = "etcd"\nendpoints = ["http://127.0.0.1:1", "https://127.0.0.1:2"]\n',
            "http and https",
        ),
        ('store = "embedded"\nendpoints = ["https://10.0.0.1:1"]\n', "for this machine alone"),
        (
            'store = "embedded"\nendpoints = ["http://127.0.0.1:1", "http://127.0.0.1:2"]\n',
            "one etcd",
        ),
        ('store = "embedded"\nname = "a b"\n', 'found "a b"'),
        (f'{ETCD}user = "proxy"\n', "ha.password_file: found one of user and password_file"),
        (f'{ETCD}password_file = "p"\n', "ha.user: found one of user and password_file"),
        (f'{ETCD}user = "{"u" * 300}"\npassword_file = "p"\n', "ha.user: found 300 characters"),
        (f'{ETCD}tls = "off"\nuser = "proxy"\npassword_file = "p"\n', "could be read on the way"),
        ('store = "embedded"\nuser = "proxy"\npassword_file = "p"\n', "only this proxy can use"),
        ('store = "embedded"\ncell = "a/b"\n', "ha.cell"),
        ('store = "embedded"\npreferred_coordinators = ["ä"]\n', "ha.preferred_coordinators"),
        ('store = "etcd"\nendpoints = ["http://127.0.0.1:1"]\nmissed = 2\n', "out after 2 s"),
    ],
)
def test_refused(text: str, says: str) -> None:
    """What cannot work, or is open to everybody, is said at the start."""
    assert says in refusal_of(text)


def test_http_elsewhere_is_for_who_says_so() -> None:
    """With tls = "off" it is a word, not an accident."""
    assert ha_of(
        'store = "etcd"\ntls = "off"\nendpoints = ["http://10.0.0.1:2379"]\n'
    ).endpoints == ("http://10.0.0.1:2379",)


def test_a_lease_is_whole_seconds() -> None:
    """0.1 * 30 is 3, whatever floats make of it; half a second counts as a whole one."""
    assert HaSettings(period_s=0.1, missed=30).ttl_s == 3
    assert HaSettings(period_s=0.5, missed=5).ttl_s == 3


def test_defaults_outlive_an_election() -> None:
    """The default and the fast profile of HA.md are allowed."""
    assert HaSettings(store="etcd").ttl_s >= least_ttl_s(HaSettings(store="etcd"))
    fast = HaSettings(store="etcd", period_s=0.6, missed=5)
    assert fast.ttl_s == 3 >= least_ttl_s(fast)


def test_no_etcd_program_is_told_with_its_package() -> None:
    """Whoever wants to try it knows what to install."""
    text = refusal_of('store = "embedded"\netcd = "etcd-that-is-not-there"\n')
    assert "wsproxy.toml:3: ha.etcd: found" in text
    assert "apt install etcd-server" in text


def test_keys_that_do_not_work_are_told(tmp_path: Path) -> None:
    """At the start, by the setting that names the file, with it."""
    text = f'[ha]\nstore = "etcd"\nendpoints = ["https://10.0.0.1:1"]\n{FILES}'
    with pytest.raises(ConfigRefusedError, match=r"ha\.ca: found .*/a.*No such file"):
        parse_settings(text, tmp_path / "wsproxy.toml")
    made = make_certificates(tmp_path, [("m",)], datetime.datetime.now(datetime.UTC))
    assert made[0].name == "ca.pem"
    text = text.replace('"a"', '"ca.pem"')
    with pytest.raises(ConfigRefusedError, match=r"ha\.certificate: found .*/b.*No such file"):
        parse_settings(text, tmp_path / "wsproxy.toml")


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        ("x" * 31, 0o600, r"with 31 bytes; allowed are 32 to 4096"),
        ("x" * 40, 0o644, r"with mode 0644; allowed is 0600 or stricter"),
        (" " * 40, 0o600, r"with 0 bytes"),
        ("x" * 4097, 0o600, r"with more than 4096 bytes"),
    ],
)
def test_session_key_that_cannot_be_used_is_told(
    tmp_path: Path, content: str, mode: int, says: str
) -> None:
    """At the start, and nothing that stands in it."""
    file = tmp_path / "sessions.key"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ConfigRefusedError, match=rf"wsproxy\.toml:4: ha\.session_key: found.*sessions\.key.*{says}") as refused:  # fmt: skip
        parse_settings(f"[ha]\n{ETCD}session_key = 'sessions.key'\n", tmp_path / "wsproxy.toml")
    assert "xxxx" not in str(refused.value)


def test_secrets_of_a_group_are_its_own(tmp_path: Path) -> None:
    """Of one file each core group, and each use, has another one; alone, or without a file, there is none."""
    file = tmp_path / "sessions.key"
    file.write_text("x" * 40 + "\n")
    file.chmod(0o600)
    ha = HaSettings(store="etcd", session_key=str(file))
    one = read_group_secret(ha)
    assert one is not None
    assert (len(one.sessions), len(one.seal)) == (16, 32)
    assert one == read_group_secret(ha)
    for other in (
        HaSettings(store="etcd", session_key=str(file), core_group="other"),
        HaSettings(store="etcd", session_key=str(file), cell="wsproxyD", core_group="efaultCoreGroup"),
    ):  # fmt: skip
        found = read_group_secret(other)
        assert found is not None
        assert not {found.sessions, found.seal} & {one.sessions, one.seal}
    assert not one.seal.startswith(one.sessions)
    assert "xxx" not in repr(one)
    assert read_group_secret(HaSettings(session_key=str(file))) is None
    assert read_group_secret(HaSettings(store="etcd")) is None


def test_what_has_no_effect_is_told() -> None:
    """A folder for an etcd that is not started by us."""
    text = '[ha]\nstore = "etcd"\nendpoints = ["http://127.0.0.1:1"]\ndata_dir = "d"\n'
    (problem,) = load_text(text, Path("wsproxy.toml")).problems
    assert problem.code == "setting-no-effect"


def test_files_are_seen_from_the_folder_of_the_settings(tmp_path: Path) -> None:
    """As all files of wsproxy.toml."""
    ha = parse_settings(f"[ha]\n{FILES}", tmp_path / "wsproxy.toml").ha
    assert ha.ca == str(tmp_path / "a")


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"secret\n", 0o640, "mode 0640; allowed is 0600"),
        (b"\nsecret\n", 0o600, "without a password in its first line"),
        (b"\xff\n", 0o600, "without a password in its first line"),
        (b"p" * 73 + b"\n", 0o600, "with 73 bytes in its first line; allowed are 1 to 72"),
        (b"p" * 74, 0o600, "with 74 bytes in its first line; allowed are 1 to 72"),
        (b"x" * 100, 0o600, "with more than 74 bytes"),
        (None, 0, "cannot be read"),
    ],
)
@pytest.mark.parametrize("table", ["ha", "ha.bridge"])
def test_password_that_cannot_be_used_is_told(
    tmp_path: Path, table: str, content: bytes | None, mode: int, says: str
) -> None:
    """At the line of its setting; of our own etcd and of another site's."""
    if content is not None:
        file = tmp_path / "etcd.password"
        file.write_bytes(content)
        file.chmod(mode)
    user = "user = 'proxy'\npassword_file = 'etcd.password'\n"
    west = "[[ha.bridge]]\ncore_group = 'west'\nendpoints = ['http://127.0.0.1:2']\n"
    text = f"[ha]\n{ETCD}{user if table == 'ha' else west + user}"
    line = text.splitlines().index("password_file = 'etcd.password'") + 1
    with pytest.raises(ConfigRefusedError, match=rf"wsproxy\.toml:{line}: {table}\.password_file: found.*{says}") as refused:  # fmt: skip
        parse_settings(text, tmp_path / "wsproxy.toml")
    assert "secret" not in str(refused.value)


def test_password_is_the_first_line_of_now(tmp_path: Path) -> None:
    """A file that changes holds at once; nobody who prints the settings sees it."""
    file = tmp_path / "etcd.password"
    file.write_text("one\r\nnot this\n")
    file.chmod(0o600)
    user = etcd_user(HaSettings(store="etcd", user="proxy", password_file=str(file)))
    assert user is not None
    assert user.password() == "one"
    file.write_text("another\n")
    assert user.password() == "another"
    assert "another" not in repr(user)
    assert etcd_user(HaSettings(store="etcd")) is None
