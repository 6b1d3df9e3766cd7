"""
Everything that runs during one scenario: the upstream, the echo origin and each proxy that did its duty.

Driven by ``measure``. All of it listens on 127.0.0.1, lives in one temporary directory, and is gone when ``bed`` ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wsproxy.bench import cputime, programs, render, tls, verify
from wsproxy.bench.echo_origin import echo_origin
from wsproxy.bench.machine import Cores
from wsproxy.bench.peers.common import Place, Said
from wsproxy.bench.processes import Service, StartError, running
from wsproxy.bench.programs import Program
from wsproxy.bench.proxies import Proxy
from wsproxy.bench.results import Failure
from wsproxy.bench.scenarios import Scenario
from wsproxy.bench.site import Site, count_servers, read_site
from wsproxy.bench.stubs import Stubs, running_stubs
from wsproxy.bench.tls import Certificate, CertificateError
from wsproxy.config.model import Config, Log
from wsproxy.config.several import load_several
from wsproxy.demo.ports import free_ports

TMPFS = Path("/dev/shm")
NO_TICKETS = "openssl.cnf"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A proxy that runs and was seen to do its duty; ``cannot`` is what it has no words for."""

    proxy: Proxy
    service: Service | None  # None: no proxy
    port: int
    wrk_script: Path
    cannot: tuple[str, ...] = ()
    rewrite: Callable[[], None] | None = None  # puts another configuration in place of its own


@dataclass(frozen=True, slots=True)
class Bed:
    """What ``measure`` measures, and who was turned away."""

    contestants: list[Contestant]
    failures: list[Failure]
    certificate: Certificate
    site: Site | None = None  # None: it has nothing to ask for
    stubs: Stubs | None = None  # None: one nginx is all servers


OWN_FILE = render.TEMPLATES / "plugin-cfg.xml"


def own_config() -> Config:
    """What is measured where nobody names a file. I/O."""
    return load_several([OWN_FILE]).config


@contextmanager
def running_bed(
    scenario: Scenario, chosen: list[Proxy], cores: Cores, config: Config | None = None
) -> Iterator[Bed]:
    """
    The bed, verified; every process ended and every file removed on the way out. ``config``: what all proxies carry out.

    Raises: StartError where the upstream does not start, or the configuration has nothing to ask for. A proxy that does not start
    is among the failures.
    """
    config = config or own_config()
    with ExitStack() as stack:
        workdir = stack.enter_context(directory_in_memory("wsproxy-bench-"))
        workdir.chmod(0o755)  # httpd's child is not root
        echo_port = stack.enter_context(echo_origin())
        server_count = count_servers(config)
        ports = free_ports(server_count + len(chosen))
        upstream_ports, listen_ports = tuple(ports[:server_count]), ports[server_count:]
        certificate = _certificate(scenario, workdir)
        ground = _Ground(scenario, config, upstream_ports, echo_port, certificate, workdir, cores)
        stubs = _start_upstream(stack, ground)

        site: Site | None = None
        contestants: list[Contestant] = []
        failures: list[Failure] = []
        for proxy, port in zip(chosen, listen_ports, strict=True):
            try:
                site = ground.site(proxy)
                contestant = _start_proxy(stack, proxy, port, site, ground)
            except StartError as error:
                failures.append(Failure(proxy.name, [str(error)]))
                continue
            prove = verify.complaints if proxy.does_duties else verify.relaying_complaints
            complaints = prove(scenario, site, certificate, contestant.port)
            complaints += verify.pinning_complaints(_processes(contestant.service), cores.proxies)
            if complaints:
                failures.append(Failure(proxy.name, complaints))
            else:
                contestants.append(contestant)
        yield Bed(contestants, failures, certificate, site, stubs)


def cpu_time(service: Service | None) -> cputime.CpuTime:
    """What all processes of a service used until now, those that ended included. I/O."""
    return cputime.total(_processes(service))


def _processes(service: Service | None) -> list[cputime.ProcessStat]:
    return cputime.members(service.pid, cputime.read_processes()) if service is not None else []


@contextmanager
def directory_in_memory(prefix: str) -> Iterator[Path]:
    """A temporary one, in memory where there is such a thing: files must not measure a disk. I/O."""
    parent = TMPFS if TMPFS.is_dir() and os.access(TMPFS, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name:
        yield Path(name)


def _with_interval(config: Config, retry_interval_s: int | None, more_s: int) -> Config:
    """``retry_interval_s`` None: as the file says."""
    return replace(
        config,
        server_clusters=tuple(
            replace(
                each,
                retry_interval_s=more_s
                + (each.retry_interval_s if retry_interval_s is None else retry_interval_s),
            )
            for each in config.server_clusters
        ),
    )


@dataclass(frozen=True, slots=True)
class _Ground:
    """What all proxies of a run share."""

    scenario: Scenario
    config: Config
    ports: tuple[int, ...]
    echo_port: int
    certificate: Certificate
    workdir: Path
    cores: Cores

    def site(self, proxy: Proxy, more_s: int = 0) -> Site:
        """The same for all, but for what wsproxy logs; ``more_s``: a longer RetryInterval, to have a change."""
        directory = self.workdir / proxy.name
        log = Log(str(directory / proxy.log_name) if proxy.log_name else "", proxy.log_level)
        try:
            return read_site(
                _with_interval(self.config, self.scenario.retry_interval_s, more_s),
                self.ports,
                log,
                self.scenario.more_uris,
            )
        except ValueError as error:
            raise StartError(str(error)) from error


def _start_upstream(stack: ExitStack, ground: _Ground) -> Stubs | None:
    if ground.scenario.has_stubs:
        return stack.enter_context(running_stubs(ground.ports, ground.cores.upstream))
    workdir = ground.workdir
    render.write_static_files(workdir)
    config = workdir / "upstream.conf"
    values = render.upstream_values(ground.ports, ground.echo_port, workdir)
    config.write_text(render.render("upstream.conf", values))
    argv = [str(_path(programs.NGINX)), "-p", str(workdir), "-c", str(config), "-e", "stderr"]
    log = workdir / "upstream.log"
    stack.enter_context(running("upstream", argv, {ground.cores.upstream}, log, ground.ports))
    return None


def _start_proxy(
    stack: ExitStack, proxy: Proxy, port: int, site: Site, ground: _Ground
) -> Contestant:
    # a directory each: nginx and nginx-buffers must not share temporary files and pid files
    directory = ground.workdir / proxy.name
    directory.mkdir()
    directory.chmod(0o755)
    if proxy.program is None:
        port = ground.ports[0]
    script = directory / "request.lua"
    script.write_text(render.render("request.lua", render.wrk_values(ground.scenario, site, port)))
    workers = len(ground.cores.proxies)
    config, cannot = write_configuration(
        proxy, port, site, ground.scenario, ground.certificate, directory, workers
    )
    if proxy.program is None:
        return Contestant(proxy, None, port, script)
    begin = proxy.command
    if ground.scenario.kind == "reload" and proxy.reloadable_command is not None:
        begin = proxy.reloadable_command
    argv = begin(_path(proxy.program), config)
    # the same file for all of them, and none where OpenSSL's defaults are meant
    environment = dict(proxy.environment)
    if ground.scenario.has_full_handshakes:
        environment["OPENSSL_CONF"] = str(ground.workdir / NO_TICKETS)
    log = directory / "output.log"
    service = stack.enter_context(
        running(proxy.name, argv, set(ground.cores.proxies), log, (port,), environment)
    )

    def rewrite() -> None:
        # some proxies leave what did not change
        other = ground.site(proxy, more_s=1)
        write_configuration(
            proxy, port, other, ground.scenario, ground.certificate, directory, workers
        )

    return Contestant(proxy, service, port, script, cannot, rewrite)


def write_configuration(
    proxy: Proxy,
    port: int,
    site: Site,
    scenario: Scenario,
    certificate: Certificate,
    directory: Path,
    workers: int = 1,
) -> tuple[Path, tuple[str, ...]]:
    """The proxy's configuration in ``directory``, with the files that it names; and what it has no words for. I/O."""
    place = Place(port, scenario.tls, str(directory), render.pool_size(scenario))
    said = proxy.say(site, place) if proxy.say is not None else Said({})
    values = render.proxy_values(
        scenario,
        site.ports,
        certificate,
        directory,
        port,
        dict(said.values) | proxy.template_values(),
        workers,
    )
    for name, text in said.files.items():
        (directory / name).write_text(text)
    config = directory / proxy.config_name
    config.write_text(render.render(proxy.template, values))
    return config, said.cannot


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
