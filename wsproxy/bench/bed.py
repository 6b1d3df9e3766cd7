"""
Everything that runs during one scenario: the upstream, the echo origin and each proxy that did its duty.

Driven by ``measure``. All of it listens on 127.0.0.1, lives in one temporary directory, and is gone when ``bed`` ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from wsproxy.bench import cputime, programs, render, tls, traffic, verify
from wsproxy.bench.echo_origin import echo_origin
from wsproxy.bench.machine import Cores
from wsproxy.bench.processes import Service, StartError, running
from wsproxy.bench.programs import Program
from wsproxy.bench.proxies import Proxy
from wsproxy.bench.render import Addresses
from wsproxy.bench.results import Failure
from wsproxy.bench.scenarios import Scenario
from wsproxy.bench.tls import Certificate, CertificateError
from wsproxy.demo.ports import free_ports

TMPFS = Path("/dev/shm")
NO_TICKETS = "openssl.cnf"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A proxy that runs and was seen to do its duty."""

    proxy: Proxy
    service: Service | None  # None: no proxy
    port: int
    wrk_script: Path


@dataclass(frozen=True, slots=True)
class Bed:
    """What ``measure`` measures, and who was turned away."""

    contestants: list[Contestant]
    failures: list[Failure]


@contextmanager
def running_bed(scenario: Scenario, chosen: list[Proxy], cores: Cores) -> Iterator[Bed]:
    """
    The bed, verified; every process ended and every file removed on the way out.

    Raises: StartError where the upstream does not start. A proxy that does not is among the failures.
    """
    with ExitStack() as stack:
        workdir = stack.enter_context(_work_directory())
        echo_port = stack.enter_context(echo_origin())
        upstream_ports, listen_ports = _ports(len(chosen))
        addresses = Addresses(upstream_ports, echo_port)
        certificate = _certificate(scenario, workdir)
        _start_upstream(stack, addresses, workdir, cores)

        contestants: list[Contestant] = []
        failures: list[Failure] = []
        for proxy, port in zip(chosen, listen_ports, strict=True):
            try:
                contestant = _start_proxy(
                    stack, proxy, port, scenario, addresses, certificate, workdir, cores
                )
            except StartError as error:
                failures.append(Failure(proxy.name, [str(error)]))
                continue
            prove = verify.complaints if proxy.does_duties else verify.relaying_complaints
            complaints = prove(scenario, addresses, certificate, contestant.port)
            complaints += verify.pinning_complaints(_processes(contestant.service), cores.proxy)
            if complaints:
                failures.append(Failure(proxy.name, complaints))
            else:
                contestants.append(contestant)
        yield Bed(contestants, failures)


def cpu_time(service: Service | None) -> cputime.CpuTime:
    """What all processes of a service used until now, those that ended included. I/O."""
    return cputime.total(_processes(service))


def _processes(service: Service | None) -> list[cputime.ProcessStat]:
    return cputime.members(service.pid, cputime.read_processes()) if service is not None else []


@contextmanager
def _work_directory() -> Iterator[Path]:
    """A directory in memory, where there is such a thing: temporary files must not measure a disk."""
    parent = TMPFS if TMPFS.is_dir() and os.access(TMPFS, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="wsproxy-bench-", dir=parent) as name:
        path = Path(name)
        path.chmod(0o755)  # httpd's child is not root
        yield path


def _ports(proxies: int) -> tuple[tuple[int, ...], list[int]]:
    ports = free_ports(len(traffic.CLONE_IDS) + proxies)
    return tuple(ports[: len(traffic.CLONE_IDS)]), ports[len(traffic.CLONE_IDS) :]


def _start_upstream(stack: ExitStack, addresses: Addresses, workdir: Path, cores: Cores) -> None:
    render.write_static_files(workdir)
    config = workdir / "upstream.conf"
    config.write_text(render.render("upstream.conf", render.upstream_values(addresses, workdir)))
    argv = [str(_path(programs.NGINX)), "-p", str(workdir), "-c", str(config), "-e", "stderr"]
    stack.enter_context(
        running(
            "upstream", argv, {cores.upstream}, workdir / "upstream.log", addresses.upstream_ports
        )
    )


def _start_proxy(
    stack: ExitStack,
    proxy: Proxy,
    port: int,
    scenario: Scenario,
    addresses: Addresses,
    certificate: Certificate,
    workdir: Path,
    cores: Cores,
) -> Contestant:
    # a directory each: nginx and nginx-buffers must not share temporary files and pid files
    directory = workdir / proxy.name
    directory.mkdir()
    directory.chmod(0o755)
    config = directory / proxy.config_name
    values = render.proxy_values(
        scenario, addresses, certificate, directory, port, proxy.template_values()
    )
    config.write_text(render.render(proxy.template, values))
    for template in proxy.more_templates:
        (directory / template).write_text(render.render(template, values))
    if proxy.program is None:
        port = addresses.upstream_ports[0]
    script = directory / "request.lua"
    script.write_text(render.render("request.lua", render.wrk_values(scenario, port)))
    if proxy.program is None:
        return Contestant(proxy, None, port, script)
    argv = proxy.command(_path(proxy.program), config)
    # the same file for all of them, and none where OpenSSL's defaults are meant
    environment = dict(proxy.environment)
    if scenario.has_full_handshakes:
        environment["OPENSSL_CONF"] = str(workdir / NO_TICKETS)
    service = stack.enter_context(
        running(proxy.name, argv, {cores.proxy}, directory / "output.log", (port,), environment)
    )
    return Contestant(proxy, service, port, script)


def _certificate(scenario: Scenario, workdir: Path) -> Certificate:
    if not scenario.tls:
        return tls.paths(workdir)  # named in comments of configurations only
    (workdir / NO_TICKETS).write_text(render.render(NO_TICKETS, {}))
    try:
        return tls.make_certificate(_path(programs.OPENSSL), workdir)
    except CertificateError as error:
        raise StartError(str(error)) from error


def _path(program: Program) -> Path:
    found = program.find()
    if found is None:
        msg = f"{program.name} is not installed"
        raise StartError(msg)
    return found
