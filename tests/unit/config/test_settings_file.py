"""wsproxy.toml: what is read, and what a refusal says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.support.certificates import Authority
from wsproxy.config.settings import NOT_IN_FILE, FallbackSettings, ListenerSettings, Settings
from wsproxy.config.settings_file import load_settings, load_text, parse_settings, read_settings
from wsproxy.config.settings_probe import expected_ranges, is_probing, probe_of
from wsproxy.errors import ConfigRefusedError

FILE = Path("wsproxy.toml")

TABLES = ", ".join(
    field.encode_name for field in msgspec.structs.fields(Settings) if field.name not in NOT_IN_FILE
)


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
            "[fallback]\nupstream = ':80'\nmode = 'upstream'",
            "2: fallback.upstream: found ':80'; allowed is HOST:PORT (the host is missing)",
        ),
        (
            "[admin]\nlisten = '0.0.0.0:9180'\ntoken_file = 'token'",
            '2: admin.listen: found "0.0.0.0:9180", which others reach, and what goes there is not encrypted: who reads the token on its way '
            'can do what an operator can; allowed is admin.certificate = "FILE" with admin.key = "FILE", "127.0.0.1:9180", to be reached by ssh -L, '
            "or admin.unencrypted = true where everybody on that network may know the token",
        ),
        (
            "[admin]\nlisten = '127.0.0.1:9180'\ncertificate = 'a.pem'",
            '3: admin.certificate: found a file, but no admin.key; allowed is admin.key = "FILE" with it',
        ),
        (
            "[admin]\nlisten = '127.0.0.1:9180'\nkey = 'a.key'",
            '3: admin.key: found a file, but no admin.certificate; allowed is admin.certificate = "FILE" with it',
        ),
        (
            "[admin]\nlisten = '0.0.0.0:9180'\nunencrypted = true",
            '2: admin.listen: found "0.0.0.0:9180" without a token; allowed is admin.token_file = "FILE" with it, or an address '
            'of this machine alone ("127.0.0.1:9180"), where metrics and health need none',
        ),
        (
            "[admin]\nlisten = ':9180'\ntoken_file = 'token'",
            '2: admin.listen: found ":9180", which others reach, and what goes there is not encrypted: who reads the token on its way '
            'can do what an operator can; allowed is admin.certificate = "FILE" with admin.key = "FILE", "127.0.0.1:9180", to be reached by ssh -L, '
            "or admin.unencrypted = true where everybody on that network may know the token",
        ),
        (
            "[admin]\nlisten = ':9180'\nunencrypted = true",
            '2: admin.listen: found ":9180" without a token; allowed is admin.token_file = "FILE" with it, or an address '
            'of this machine alone ("127.0.0.1:9180"), where metrics and health need none',
        ),
        (
            "[admin]\nlisten = '9180'",
            "2: admin.listen: found '9180'; allowed is HOST:PORT (for port 9180: 127.0.0.1:9180 or :9180)",
        ),
        (
            "[admin]\ntoken_file = 'token'",
            "2: admin.token_file: found a file; allowed is none without admin.listen: the Unix socket asks for no token",
        ),
        (
            "[health]\nready_path = 'ready'",
            '2: health.ready_path: found "ready"; allowed is a path as clients send it, without a query: "/ready"',
        ),
        (
            "[health]\nlive_path = '/ready?x'",
            '2: health.live_path: found "/ready?x"; allowed is a path as clients send it, without a query: "/ready"',
        ),
        (
            "[health]\nlive_path = '/up'\nready_path = '/up'",
            '3: health.ready_path: found "/up" for both questions; allowed is a path of its own',
        ),
        (
            "[health]\nports = [80, 70000]",
            "2: health.ports: found 70000; allowed are ports from 1 to 65535",
        ),
        (
            "[process]\nhang_s = 0.5",
            "2: process.hang_s: found 0.5; allowed is 0, or a number from 1",
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


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[balancing]\ntrust = []", "allowed is one of backups, last_chance"),
        ("[balancing]\ntrust = []", "(trust is a setting of [upstream.tls] and of [forwarded])"),
        ("[limits]\nkeepalive_s = 5", "(keepalive_s is a setting of [timeouts])"),
        ("[upstream.tls]\npassword_fil = ''", "did you mean password_file?"),
        ("[explain]\ntrust = []", "did you mean trusted?"),
        ("keepalive = 5", "did you mean timeouts.keepalive_s?"),
        ("[[listener]]\naddress = ':1'\ncipher = ''", "did you mean ciphers?"),
    ],
)
def test_an_unknown_setting_is_looked_for_in_its_own_table_first(text: str, hint: str) -> None:
    """Whoever names a table means it: another one's is only pointed to, where it has the very name."""
    [problem] = _refusal(text)
    assert hint in problem
    assert "did you mean trusted" not in problem or "explain.trust" in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[fallback]\ndirectory = '/'", '2: fallback.directory: found "/", which has no effect with mode = "404"; allowed with mode = "directory"'),
        ("[fallback]\nupstream = 'h:1'", '2: fallback.upstream: found "h:1", which has no effect with mode = "404"; allowed with mode = "upstream"'),
        ("[fallback]\nmode = 'directory'\ndirectory = '/'\nupstream = 'h:1'", '4: fallback.upstream: found "h:1", which has no effect with mode = "directory"; allowed with mode = "upstream"'),
        ("[log]\naccess = ' a.log'", '2: log.access: found " a.log", which begins or ends with a blank; allowed is the same without'),
        ('[http]\nvia = "a\\nb"', '2: http.via: found "a\\nb", which has a line break in it; allowed is text without'),
        ('[admin]\nsocket = "/x\\ty"', '2: admin.socket: found "/x\\ty", which has a control character in it; allowed is text without'),
        ('[explain]\ntrusted = ["10.0.0.1", " 10.0.0.2"]', '2: explain.trusted: found " 10.0.0.2", which begins or ends with a blank; allowed is the same without'),
    ],
)  # fmt: skip
def test_what_has_no_effect_or_is_not_meant_is_refused(text: str, problem: str) -> None:
    """A folder that nobody serves from is a site of 404s; a blank in a path is a file that nobody finds."""
    assert _refusal(text) == [f"wsproxy.toml:{problem}"]


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("", []),
        ("[queue]\nsize = 1\nwait_s = 1", []),
        ("[queue]\nwait_s = 1", ["2: queue.wait_s: found 1.0, which has no effect with queue.size = 0: nobody waits; allowed with size above 0"]),
        ("[queue]\nwait_s = 5.0", []),
        ("[log]\naccess_format = 'json'", ['2: log.access_format: found "json", which has no effect with log.access = "off"; allowed with access = "FILE"']),
        ("[log]\nplugin = 'off'\nplugin_dates = 'old'", ['3: log.plugin_dates: found "old", which has no effect with log.plugin = "off"; allowed with http_plugin.log']),
        ("[upstream]\npool_size = 0\npool_idle_s = 9", ["3: upstream.pool_idle_s: found 9.0, which has no effect with pool_size = 0: no connection is kept; allowed with pool_size above 0"]),
        ("[upstream]\nproxy_protocol = 'v2'\npool_size = 9", ['3: upstream.pool_size: found 9, which has no effect with proxy_protocol = "v2": no connection is kept; allowed with proxy_protocol = "none"']),
        ("[upgrade]\nprotocols = []\n[timeouts]\ntunnel_s = 9", ["4: timeouts.tunnel_s: found 9.0, which has no effect with upgrade.protocols = []: nothing is upgraded; allowed with a protocol in upgrade.protocols"]),
        ("[[listener]]\naddress = ':1'\n[[listener]]\naddress = ':2'\nmin_version = '1.3'", ['5: listener.min_version: found "1.3", which has no effect without certificates; allowed with certificates']),
        ("[timeouts]\nhead_s = 10000\nbody_s = 3600", ["2: timeouts.head_s: found 10000, which is 2 h 46 min 40 s; allowed is seconds: 10 where 10000 milliseconds were meant"]),
        ("[upstream]\nconnect_s = 300", ["2: upstream.connect_s: found 300, which is 5 min; allowed is seconds"]),
    ],
)  # fmt: skip
def test_what_is_idle_or_hardly_meant_is_a_warning(text: str, warnings: list[str]) -> None:
    """With its line; a default is never one."""
    found = load_text(text, FILE).problems
    assert [str(problem) for problem in found] == [f"wsproxy.toml:{each}" for each in warnings]
    assert {problem.severity for problem in found} <= {"warning"}


def test_the_sample_with_every_default_has_no_warning() -> None:
    assert load_settings(Path(__file__).parents[3] / "docs" / "wsproxy.toml").problems == ()


def test_a_problem_has_its_parts() -> None:
    """For machines: what was found and what is allowed, beside the sentence for people."""
    with pytest.raises(ConfigRefusedError) as refused:
        parse_settings("workers = 'x'\nworker = 1", FILE)
    assert [
        (each.code, each.line, each.found, each.allowed) for each in refused.value.problems
    ] == [
        ("setting-value", 1, '"x"', "a whole number from 0 to 128"),
        ("setting-unknown", 2, "unknown setting worker", "workers?"),
    ]


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
        match=r'wsproxy\.toml:3: fallback\.directory: found ".*nowhere", which is no folder',
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


def test_codes_that_nobody_wants_to_hear_of_are_counted() -> None:
    loaded = load_text('[check]\nignore = ["setting-unit"]\n[timeouts]\nhead_s = 10000', FILE)
    assert loaded.problems == ()
    assert (loaded.counts.warnings, loaded.counts.ignored) == (0, 1)


@pytest.mark.parametrize(
    ("code", "flaw"),
    [
        ("setting-unitt", 'which is the code of nothing; allowed is "setting-unit" (nearest code)'),
        ("setting-value", "which is always an error; allowed is the code of a warning or a note"),
    ],
)
def test_a_code_that_cannot_be_ignored_is_refused(code: str, flaw: str) -> None:
    with pytest.raises(ConfigRefusedError) as refused:
        load_text(f'[check]\nignore = ["{code}"]', FILE)
    assert str(refused.value) == f'wsproxy.toml:2: check.ignore: found "{code}", {flaw}'


def test_probes_of_a_cluster_are_those_of_all_but_for_what_it_says() -> None:
    settings = parse_settings(
        """
        [probe]
        type = "http"
        interval_s = 9
        [[probe.cluster]]
        name = "shop"
        path = "/shop/ready?deep=1"
        host = "[::1]:81"
        status = [200, "204-299"]
        rise = 1
        [[probe.cluster]]
        name = "legacy"
        type = "off"
        """,
        FILE,
    ).probe
    shop = probe_of(settings, "shop")
    assert (shop.type, shop.path, shop.interval_s, shop.rise) == (
        "http",
        "/shop/ready?deep=1",
        9,
        1,
    )
    assert expected_ranges(shop.status) == ((200, 200), (204, 299))
    assert probe_of(settings, "legacy").type == "off"
    assert probe_of(settings, "other") == settings
    assert is_probing(settings)
    assert not is_probing(parse_settings("[probe]\nslow_start_s = 9", FILE).probe)
    assert is_probing(parse_settings('[[probe.cluster]]\nname = "c"\ntype = "tcp"', FILE).probe)


def test_what_is_wrong_with_probes_is_said_with_its_line() -> None:
    assert _refusal(
        """[probe]
type = "ping"
rise = 0
jitter = 0.9
status = [true]
[[probe.cluster]]
type = "http"
pth = "/x"
"""
    ) == [
        'wsproxy.toml:2: probe.type: found "ping"; allowed is "http" or "https" or "off" or "tcp"',
        "wsproxy.toml:3: probe.rise: found 0; allowed is a whole number from 1 to 100",
        "wsproxy.toml:4: probe.jitter: found 0.9; allowed is a number from 0 to 0.5",
        "wsproxy.toml:5: probe.status: found [True]; allowed is a list of whole numbers and texts in quotes",
        'wsproxy.toml:6: probe.cluster: found no name; allowed is name = "CLUSTER", one of plugin-cfg.xml',
        "wsproxy.toml:8: found unknown setting probe.cluster.pth; did you mean path?",
    ]
    assert _refusal(
        """[probe]
type = "http"
path = "health"
host = "a b"
status = ["200-100"]
[[probe.cluster]]
name = "shop"
status = []
[[probe.cluster]]
name = "shop"
"""
    ) == [
        'wsproxy.toml:3: probe.path: found "health"; allowed is a path from its first /, of visible ASCII: what else it has as %XX',
        'wsproxy.toml:4: probe.host: found "a b"; allowed is HOST or HOST:PORT, IPv6 in brackets',
        'wsproxy.toml:5: probe.status: found "200-100"; allowed is a status from 100 to 599, or a range like "200-399"',
        'wsproxy.toml:8: probe.cluster.status: found none; allowed is one status at least, like 200 or "200-399"',
        'wsproxy.toml:10: probe.cluster.name: found "shop" again; allowed is one table for each ServerCluster',
    ]


def test_settings_of_probes_that_nobody_makes_are_warned_of() -> None:
    loaded = load_text('[probe]\npath = "/x"\nslow_start_s = 3\n', FILE)
    assert [str(each) for each in loaded.problems] == [
        'wsproxy.toml:2: probe.path: found "/x", which has no effect with type = "off": nothing is probed; allowed with type = "http"'
    ]
    loaded = load_text('[probe]\ntype = "tcp"\nbody = "x"\n', FILE)
    assert [(each.code, each.line) for each in loaded.problems] == [("setting-no-effect", 3)]
    assert not load_text(
        '[probe]\npath = "/x"\n[[probe.cluster]]\nname = "c"\ntype = "http"\n', FILE
    ).problems
