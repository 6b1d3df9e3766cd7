"""wsproxy.toml: what is read, and what a refusal says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.support.certificates import Authority
from wsproxy.config.settings import FallbackSettings, ListenerSettings, Settings
from wsproxy.config.settings_file import parse_settings, read_settings
from wsproxy.errors import ConfigRefusedError

FILE = Path("wsproxy.toml")

TABLES = ", ".join(field.encode_name for field in msgspec.structs.fields(Settings))


def _refusal(text: str) -> list[str]:
    with pytest.raises(ConfigRefusedError) as refused:
        parse_settings(text, FILE)
    return str(refused.value).splitlines()


def test_empty_file_is_the_defaults() -> None:
    """Everything has a default."""
    assert parse_settings("", FILE) == Settings()


def test_values_are_read_from_every_table() -> None:
    """Top level, tables, inline and repeated tables all arrive; whole numbers serve as seconds."""
    settings = parse_settings(
        """
        workers = 3
        limits = { head_bytes = 32768, target_bytes = 2048 }
        [[listener]]
        address = "127.0.0.1:9080"
        [[listener]]
        address = "[::1]:0"
        [timeouts]
        head_s = 5
        [upstream]
        pool_size = 0
        [balancing]
        last_chance = false
        [fallback]
        mode = "upstream"
        upstream = "web.example.com:80"
        [log]
        level = "debug"
        """,
        FILE,
    )
    assert settings.workers == 3
    assert (settings.limits.head_bytes, settings.limits.target_bytes) == (32768, 2048)
    assert settings.listeners == (ListenerSettings("127.0.0.1:9080"), ListenerSettings("[::1]:0"))
    assert settings.timeouts.head_s == 5.0
    assert settings.timeouts.body_s == Settings().timeouts.body_s
    assert settings.upstream.pool_size == 0
    assert settings.balancing.last_chance is False
    assert settings.balancing.backups == "ordered"
    assert settings.fallback == FallbackSettings(mode="upstream", upstream="web.example.com:80")
    assert settings.log.level == "debug"


def test_all_problems_are_listed_with_their_lines() -> None:
    """One run names every problem: unknown names with the nearest known one, wrong types and ranges with what is allowed."""
    assert _refusal(
        """workers = "two"
worker = 2
keepalive_s = 5
[limits]
head_bytes = 12
frobnicate = 1
[timeouts]
head_s = nan
keepalives_s = 3
[log]
level = "loud"
[balancing]
last_chance = 1
"""
    ) == [
        'wsproxy.toml:1: workers: found "two"; allowed is a whole number from 0 to 128',
        "wsproxy.toml:2: found unknown setting worker; did you mean workers?",
        "wsproxy.toml:3: found unknown setting keepalive_s; did you mean timeouts.keepalive_s?",
        "wsproxy.toml:5: limits.head_bytes: found 12; allowed is a whole number from 1024 to 1048576",
        "wsproxy.toml:6: found unknown setting limits.frobnicate; allowed is one of head_bytes, header_fields, "
        "target_bytes, client_connections",
        "wsproxy.toml:8: timeouts.head_s: found nan; allowed is a number from 0.05 to 86400",
        "wsproxy.toml:9: found unknown setting timeouts.keepalives_s; did you mean keepalive_s?",
        'wsproxy.toml:11: log.level: found "loud"; allowed is "debug" or "error" or "info" or "warning"',
        "wsproxy.toml:13: balancing.last_chance: found 1; allowed is true or false",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\nlimits = 3", "2: limits: found 3; allowed is a table, [limits]"),
        (
            "listener = 'a:1'",
            '1: listener: found "a:1"; allowed are tables, each under [[listener]]',
        ),
        ("listener = ['a:1']", '1: listener: found "a:1"; allowed is a table, [listener]'),
        ("\n[[listener]]", '2: listener: found no address; allowed is address = "HOST:PORT"'),
        (
            "[[listener]]\naddress = 9080",
            "2: listener.address: found 9080; allowed is text in quotes",
        ),
        (
            "[[listener]]\naddress = 'a:1'\n[[listener]]\naddress = '9080'",
            "4: listener.address: found '9080'; allowed is HOST:PORT (for port 9080: 127.0.0.1:9080 or :9080)",
        ),
        (
            "a.b.c = 1",
            f"1: found unknown setting a; allowed is one of {TABLES}",
        ),
        (
            "limits.'head_bytes' = true",
            "1: limits.head_bytes: found true; allowed is a whole number from 1024 to 1048576",
        ),
        ("\n\nworkers = ", "3: found what is no TOML: Invalid value"),
        ("workers = 1\nworkers = 2\n#", "2: found what is no TOML: Cannot overwrite a value"),
        ("workers = [1\n", "1: found what is no TOML: Unclosed array"),
        (
            "[fallback]\nmode = 'directory'",
            '2: fallback.mode: found "directory" without fallback.directory; allowed with directory = "FOLDER"',
        ),
        (
            "[fallback]\nmode = 'upstream'",
            '2: fallback.mode: found "upstream" without fallback.upstream; allowed with upstream = "HOST:PORT"',
        ),
        (
            "[http]\n\nvia = 'a b'",
            '3: http.via: found "a b"; allowed is a word of at most 255 letters, digits, - . _, or HOST:PORT',
        ),
        (
            "[fallback]\nupstream = ':80'",
            "2: fallback.upstream: found ':80'; allowed is HOST:PORT (the host is missing)",
        ),
        (
            "[limits]\nhead_bytes = 2048",
            "1: limits.target_bytes: found 16384; allowed is at most limits.head_bytes, 2048",
        ),
        (
            f"workers = '{'x' * 100}'",
            f'1: workers: found "{"x" * 56}...; allowed is a whole number from 0 to 128',
        ),
    ],
)
def test_problem_names_line_and_what_is_allowed(text: str, problem: str) -> None:
    """Each kind of mistake gets its own sentence."""
    assert _refusal(text) == [f"wsproxy.toml:{problem}"]


def test_protocols_that_lead_around_the_proxy_cannot_be_allowed(tmp_path: Path) -> None:
    """Each is named with its line."""
    file = tmp_path / "wsproxy.toml"
    file.write_text('[upgrade]\nprotocols = ["websocket", "H2C", "a b", "*"]\n')
    with pytest.raises(ConfigRefusedError) as refused:
        read_settings(file)
    allowed = 'allowed is the name of a protocol, like "websocket", or "*", but never h2c, h2, http, or tls'
    assert str(refused.value).splitlines() == [
        f'{file}:2: upgrade.protocols: found "{found}"; {allowed}' for found in ("H2C", "a b")
    ]


def test_fallback_directory_is_relative_to_the_file(tmp_path: Path) -> None:
    """A relative folder is found from wherever wsproxy is started."""
    (tmp_path / "static").mkdir()
    file = tmp_path / "wsproxy.toml"
    file.write_text('[fallback]\nmode = "directory"\ndirectory = "static"\n')
    assert read_settings(file).fallback.directory == str(tmp_path / "static")


def test_fallback_directory_must_exist(tmp_path: Path) -> None:
    """A missing folder is found at start, not at the first request."""
    file = tmp_path / "wsproxy.toml"
    file.write_text('[fallback]\nmode = "directory"\ndirectory = "nowhere"\n')
    with pytest.raises(
        ConfigRefusedError,
        match=r"wsproxy\.toml:3: fallback\.directory: found '.*nowhere', which is no folder",
    ):
        read_settings(file)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A missing file and one that is not UTF-8 are named."""
    with pytest.raises(ConfigRefusedError, match=r"none\.toml: cannot be read: No such file"):
        read_settings(tmp_path / "none.toml")
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# na\xefve\n")
    with pytest.raises(ConfigRefusedError, match="found byte 0xef at offset 4; allowed is UTF-8"):
        read_settings(latin)


def test_listener_with_certificates(tmp_path: Path) -> None:
    """Files are found from the folder of wsproxy.toml; both ways to write repeated tables mean the same."""
    ca = Authority()
    ca.write_pem(tmp_path)
    ca.issue("h").write_pem(tmp_path, "h")
    ca.issue("i").write_p12(tmp_path, "i", b"pass")
    (tmp_path / "i.pw").write_text("pass\n")
    inline = """
        [[listener]]
        address = ":8443"
        certificates = [
          { chain = "h.pem", key = "h.key" },
          { p12 = "i.p12", password_file = "i.pw" },
        ]
        client_certificates = "optional"
        client_ca = "ca.pem"
    """
    tables = """
        [[listener]]
        address = ":8443"
        client_certificates = "optional"
        client_ca = "ca.pem"
        [[listener.certificates]]
        chain = "h.pem"
        key = "h.key"
        [[listener.certificates]]
        p12 = "i.p12"
        password_file = "i.pw"
    """
    settings = parse_settings(inline, tmp_path / "wsproxy.toml")
    assert settings == parse_settings(tables, tmp_path / "wsproxy.toml")
    [listener] = settings.listeners
    assert listener.certificates[0].chain == str(tmp_path / "h.pem")
    assert listener.client_ca == str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("lines", "at", "problem"),
    [
        ("certificates = []\nclient_ca = 'ca.pem'", 4, "client_ca: found \"{0}/ca.pem\" without certificates; allowed with certificates"),
        ("certificates = 3", 3, "certificates: found 3; allowed are tables, each under [[listener.certificates]]"),
        ("certificates = [{ chian = 'a' }]", 3, "found unknown setting listener.certificates.chian; did you mean chain?"),
        ("certificates = [{ chain = 'h.pem' }]", 3, "certificates: found chain; allowed is chain with key, or p12 alone"),
        ("certificates = [{ }]", 3, "certificates: found none of chain, key and p12; allowed is chain with key, or p12 alone"),
        ("certificates = [{ chain = 'h.pem', key = 'i.key' }]", 3, "certificates: found a private key that does not belong to the first certificate in '{0}/h.pem' and '{0}/i.key'; allowed is its own (a chain begins with the server's certificate)"),
        ("certificates = [{ chain = 'h.pem', key = 'missing' }]", 3, "certificates: found '{0}/missing', which cannot be read (No such file or directory); allowed is a file that can"),
        ("[[listener.certificates]]\nchain = 'h.pem'\nkey = 3", 5, "certificates.key: found 3; allowed is text in quotes"),
        ("ciphers = 'NONE:SUCH'\ncertificates = [{ chain = 'h.pem', key = 'h.key' }]", 3, 'ciphers: found "NONE:SUCH", of which the TLS library knows none; allowed are its names with : between them'),
        ("client_certificates = 'required'\ncertificates = [{ chain = 'h.pem', key = 'h.key' }]", 3, 'client_certificates: found "required" without client_ca; allowed with client_ca = "FILE"'),
        ("client_ca = 'ca.pem'\ncertificates = [{ chain = 'h.pem', key = 'h.key' }]", 3, 'client_ca: found a file, but client_certificates = "none"; allowed with "optional" or "required"'),
        ("client_ca = 'h.key'\nclient_certificates = 'optional'\ncertificates = [{ chain = 'h.pem', key = 'h.key' }]", 3, "client_ca: found no usable certificate in '{0}/h.key'; allowed is one or more in PEM"),
        ("[upstream.tls]\npassword_file = 'missing'", 4, "upstream.tls.password_file: found '{0}/missing', which cannot be read (No such file or directory); allowed is a file that can"),
        ("[upstream.tls]\nverify = 'yes'", 4, 'upstream.tls.verify: found "yes"; allowed is "chain" or "full" or "none"'),
        ("[upstream.tls]\ntrust = 'key.kdb'", 4, "upstream.tls.trust: found '{0}/key.kdb', a CMS key database, which only GSKit reads; allowed is PKCS#12 or PEM. To convert it: " 'gskcapicmd -keydb -convert -db "{0}/key.kdb" -stashed -new_db "{0}/key.p12" -new_format p12 -v1stash'),
    ],
)  # fmt: skip
def test_tls_that_cannot_work_is_refused(tmp_path: Path, lines: str, at: int, problem: str) -> None:
    """With its line, and what is allowed; nothing of it waits for the first client."""
    ca = Authority()
    ca.write_pem(tmp_path)
    ca.issue("h").write_pem(tmp_path, "h")
    ca.issue("i").write_pem(tmp_path, "i")
    path = tmp_path / "wsproxy.toml"
    with pytest.raises(ConfigRefusedError) as refused:
        parse_settings(f"[[listener]]\naddress = ':8443'\n{lines}\n", path)
    is_listener = not problem.startswith(("found", "upstream"))
    expected = problem.format(tmp_path)
    assert str(refused.value) == f"{path}:{at}: {'listener.' if is_listener else ''}{expected}"
