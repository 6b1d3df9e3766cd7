"""
What plugin-cfg.xml can say and wsproxy does not do, or does without being told: one table for the checks and the docs.

Driven by ``config.check`` (warns where a value that matters is set) and by docs/plugin-cfg.md (tests compare the two).
Whoever teaches wsproxy one of these takes its line out.
"""

from __future__ import annotations

from dataclasses import dataclass

from wsproxy.config.model import Config, ServerCluster


@dataclass(frozen=True, slots=True)
class Left:
    """One attribute that has no effect; ``is_warned``: an operator who set it must know."""

    why: str
    is_warned: bool = False


_NAGLE = "wsproxy always sends at once"

NOT_CARRIED_OUT: dict[type, dict[str, Left]] = {
    Config: {
        "ignore_dns_failures": Left("wsproxy resolves names when it connects, and always starts"),
        "as_disable_nagle": Left(_NAGLE),
        "iis_disable_nagle": Left("IIS only"),
        "iis_plugin_priority": Left("IIS only"),
        "response_chunk_size_kb": Left("wsproxy passes answers on as they come"),
        "accept_all_content": Left("wsproxy relays every body that HTTP/1.1 framing announces"),
        "chunked_response": Left("wsproxy keeps the framing of the answer"),
        "fips_enable": Left(
            "the TLS library's own FIPS mode is set up outside wsproxy", is_warned=True
        ),
        "ssl_consolidate": Left("wsproxy shares TLS environments wherever it can"),
        "kill_web_server_start_up_on_parse_err": Left(
            "wsproxy never starts with a file it refused"
        ),
        "use_insecure": Left(
            "an https Transport that cannot be used gives way to an http one; wsproxy says so at start"
        ),
        "strict_security": Left("wsproxy never speaks TLS below 1.2"),
        "secure_host_verification": Left(
            "wsproxy checks host names unless upstream.tls.verify says otherwise"
        ),
        "host_verification_startup_check": Left("wsproxy checks at each handshake"),
        "os400_convert_query_string_to_job_ccsid": Left("IBM i only"),
        "sslpkcs_driver": Left("wsproxy uses no PKCS#11 devices", is_warned=True),
        "sslpkcs_password": Left("wsproxy uses no PKCS#11 devices"),
        "config_hash": Left("Liberty's own bookkeeping"),
    },
    ServerCluster: {
        "get_dwlm_table": Left(
            "the format of partition tables is not known: they are kept, and partition ids are unknown clone ids"
        ),
        "mark_busy_down": Left("its meaning is documented nowhere", is_warned=True),
    },
}
