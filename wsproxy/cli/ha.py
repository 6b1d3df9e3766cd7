"""
``wsproxy ha``: commands for a group of proxies.

Driven by ``cli.main``. Prints; keys are made by ``ha.certs``.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from wsproxy.cli import ha_drill, ha_groups, ha_pair, ha_published
from wsproxy.cli.asking import EXIT_REFUSED, fail, say
from wsproxy.errors import StartError
from wsproxy.ha.certs import SESSION_KEY, files_of, make_certificates, make_session_key


@click.group()
def ha() -> None:
    """High availability: a group of proxies, or two and a floating address (docs/high-availability.md)."""


for each in (ha_pair.start, ha_pair.configure, ha_pair.stop, ha_pair.status, ha_pair.failover, ha_pair.trace, ha_drill.drill, ha_pair.run, ha_groups.policy, ha_groups.move, ha_groups.activate, ha_groups.deactivate, ha_groups.clear):  # fmt: skip
    ha.add_command(each)


for each in (ha_published.history, ha_published.show, ha_published.rollback):
    ha.add_command(each)


@ha.command(
    epilog="Exit code: 0 all that was asked for is there, 1 it could not be made. Keep ca.key where no proxy is; each host needs ca.pem and its own two files, each proxy sessions.key as well, and etcd's hosts that have no proxy do not."
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("hosts", nargs=-1, required=True)
@click.option(
    "--renew", is_flag=True, help="Make new ones for HOSTS that have them, by the same issuer."
)
def certs(folder: Path, hosts: tuple[str, ...], *, renew: bool) -> None:
    """
    Make in FOLDER an issuer, and for each of HOSTS a key with a certificate: for etcd, for its peers and for the proxy there.

    And sessions.key, one for all, by which proxies tell each other where sessions went.

    A host is its name, with other names and addresses behind commas: proxy1,proxy1.example.com,10.0.0.1. Files that are there
    already are not touched.
    """
    named = [[part for part in host.split(",") if part] for host in hosts]
    for host, names in zip(hosts, named, strict=True):
        if not names or "/" in names[0]:
            fail(f"found host {host!r}; allowed is NAME, or NAME,ADDRESS,...", EXIT_REFUSED)
    try:
        written = make_certificates(
            folder, named, datetime.datetime.now(datetime.UTC), renews=renew
        )
        if (session_key := make_session_key(folder)) is not None:
            written.append(session_key)
    except StartError as error:
        fail(str(error), EXIT_REFUSED)
    for path in written:
        say(str(path))
    if not written:
        say(f"nothing to do: {folder} has all of them (--renew makes new ones)")
    files = files_of(folder, named[0][0])
    say(f'on {named[0][0]}, in [ha]: ca = "{files.ca}"  certificate = "{files.certificate}"  key = "{files.key}"  session_key = "{folder / SESSION_KEY}"')  # fmt: skip
