"""
The proof, before anything is measured, that a proxy does its duty: complaints, none if it does.

Driven by ``bed``. Real requests, the same ones that wrk sends, through the proxy to the upstream that is measured.
"""

from __future__ import annotations

import http
import http.client
import json
import os
import re
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass

from wsproxy.bench import tls, traffic
from wsproxy.bench.client import ANSWER_S, Answer, Client
from wsproxy.bench.cputime import ProcessStat
from wsproxy.bench.echo_origin import BODY_HEADER, describe_body
from wsproxy.bench.scenarios import Scenario
from wsproxy.bench.site import HOST_NAME, Member, Sample, Site
from wsproxy.bench.tls import Certificate
from wsproxy.bench.traffic import Visit

CHECK = "check"  # what the upstream is asked for to see how a request arrives
SESSIONS_TRIED = 4  # for each clone
OWNERS_TRIED = 4  # of a cluster, for each kind of request
NEW_VISITORS = (
    12  # round robin over two servers shows both long before that; random misses one in 2048 runs
)
SESSION_ID = re.compile(r"[0-9A-Fa-f]{64}")
LONGEST_HEAD_BYTES = 8192  # of a request as a proxy sends it on; it has about 1200


def complaints(
    scenario: Scenario, site: Site, certificate: Certificate, listen_port: int
) -> list[str]:
    """Every duty that the proxy on ``listen_port`` does not do; empty if it does all."""
    duties = (_Proof.affinity, _Proof.headers, _Proof.new_visitors, _Proof.tls)
    return _found(scenario, site, certificate, listen_port, duties)


def relaying_complaints(
    scenario: Scenario, site: Site, certificate: Certificate, listen_port: int
) -> list[str]:
    """As ``complaints``, of who only relays: the answers are those of the scenario, the connection is kept or ended."""
    return _found(scenario, site, certificate, listen_port, (_Proof.answers,))


def _found(
    scenario: Scenario,
    site: Site,
    certificate: Certificate,
    listen_port: int,
    duties: tuple[Callable[[_Proof], None], ...],
) -> list[str]:
    context = tls.client_context(certificate.certificate) if scenario.tls else None
    with closing(Client(listen_port, context)) as client:
        proof = _Proof(scenario, site, listen_port, client, [])
        try:
            for prove in duties:
                prove(proof)
        except (OSError, http.client.HTTPException, ValueError) as error:
            proof.found.append(f"broke off: {type(error).__name__}: {error}")
    return list(dict.fromkeys(proof.found))


def pinning_complaints(processes: Iterable[ProcessStat], cores: frozenset[int]) -> list[str]:
    """The processes that may run elsewhere than on ``cores``: a program may undo what taskset did."""
    found = []
    for process in processes:
        allowed = os.sched_getaffinity(process.pid)
        if not allowed <= cores:
            found.append(
                f"process {process.pid} ({process.name}) may run on cores {sorted(allowed)}, not only on {sorted(cores)}"
            )
    return found


def check_echo(
    pairs: list[list[str]],
    sent_cookie: str,
    listen_port: int,
    cipher: str | None = None,
    *,
    host: str = HOST_NAME,
    has_session_id: bool = False,
) -> list[str]:
    """
    What is wrong with the request head that the app server saw, but for the port. Pure.

    ``cipher``: that of the client's TLS connection; None means plain HTTP. The client does not know the id of its session.
    """
    seen: dict[str, list[str]] = {}
    for name, value in pairs:
        seen.setdefault(name.lower(), []).append(value)
    private = traffic.expected_private_headers(listen_port, cipher, host)
    expected = {name.lower(): value for name, value in private.items()}
    found = [
        f"{name.upper()} is {seen.get(name, [])}, not [{value!r}]"
        for name, value in expected.items()
        if seen.get(name) != [value]
    ]
    if has_session_id:
        ids = seen.pop(traffic.SESSION_ID_HEADER.lower(), [])
        if len(ids) != 1 or not SESSION_ID.fullmatch(ids[0]):
            found.append(f"{traffic.SESSION_ID_HEADER} is {ids}, not the id of a session")
    found += [
        f"{name.upper()} of the client reached the app server"
        for name in seen
        if name.startswith(("$ws", "_ws_")) and name not in expected
    ]
    found += [
        f"{name} of the client arrived as {seen.get(name, [])}"
        for name, value in (
            ("host", traffic.host_field(host, listen_port)),
            ("cookie", sent_cookie),
        )
        if seen.get(name) != [value]
    ]
    return found


def answer_complaints(scenario: Scenario, answer: Answer) -> list[str]:
    """What is wrong with an answer of the measured kind, but for where it came from. Pure."""
    found = []
    if answer.status != http.HTTPStatus.OK:
        found.append(f"status {answer.status}, not 200")
    if len(answer.body) != scenario.body_bytes:
        found.append(f"body of {len(answer.body)} bytes, not {scenario.body_bytes}")
    if answer.is_chunked != scenario.is_chunked:
        found.append(f"answer is {'' if answer.is_chunked else 'not '}chunked")
    if scenario.upload_bytes:
        read = answer.upload_bytes or 0
        if not scenario.upload_bytes < read < scenario.upload_bytes + LONGEST_HEAD_BYTES:
            found.append(f"upstream had read {read} bytes when it answered an upload")
    return found


def tls_complaints(scenario: Scenario, client: Client) -> list[str]:
    """What is wrong with the TLS that ``client`` saw until now. Pure."""
    if not scenario.tls:
        return []
    found = []
    if (client.tls_version, client.cipher) != (tls.VERSION, tls.CIPHER):
        found.append(
            f"{client.tls_version} with {client.cipher}, not {tls.VERSION} with {tls.CIPHER}"
        )
    if scenario.has_full_handshakes and client.has_resumed:
        found.append("resumes TLS sessions")
    if scenario.resumes and not client.has_resumed:
        found.append("resumes no TLS session")
    return found


@dataclass(frozen=True, slots=True)
class _Proof:
    """One proxy's proof; ``found`` collects the complaints."""

    scenario: Scenario
    site: Site
    listen_port: int
    client: Client
    found: list[str]

    def answers(self) -> None:
        """Several on one connection, where it is kept."""
        for visit in traffic.visits(self.site)[:SESSIONS_TRIED]:
            answer = self._request(visit, self.scenario.answer)
            self.found.extend(answer_complaints(self.scenario, answer))

    def affinity(self) -> None:
        """Requests of all kinds reach their cluster, and sessions their own server."""
        for sample in self.site.samples:
            cluster = self.site.clusters[sample.cluster]
            ports = {member.port for member in cluster.members}
            what = f"{sample.host}{sample.path}"
            answer = self._request(self._visit(sample, None, 0), self.scenario.answer)
            self.found.extend(answer_complaints(self.scenario, answer))
            if answer.upstream_port not in ports:
                self.found.append(
                    f"{what} was answered from {answer.upstream_port}, no server of {cluster.name}"
                )
            # one server's sessions after the other's: in turn, plain round robin would pass
            for owner in cluster.owners[:OWNERS_TRIED]:
                for number in range(SESSIONS_TRIED if len(self.site.samples) == 1 else 2):
                    answer = self._request(self._visit(sample, owner, number), self.scenario.answer)
                    self.found.extend(answer_complaints(self.scenario, answer))
                    if answer.upstream_port != owner.port:
                        self.found.append(
                            f"a session of the server on {owner.port} was answered from {answer.upstream_port}"
                        )

    def new_visitors(self) -> None:
        """Requests without a session reach several servers."""
        for at, cluster in enumerate(self.site.clusters):
            expected = {member.port for member in cluster.primaries if member.weight}
            sample = next((each for each in self.site.samples if each.cluster == at), None)
            if sample is None or not expected:
                continue
            ports: set[int | None] = set()
            for number in range(NEW_VISITORS):
                visit = self._visit(sample, None, number)
                answer = self._request(visit, self.scenario.answer)
                self.found.extend(answer_complaints(self.scenario, answer))
                ports.add(answer.upstream_port)
            if len(ports) < min(2, len(expected)) or not ports <= expected:
                self.found.append(f"requests without a session went to {ports} only")

    def headers(self) -> None:
        """The app server sees the private headers, nothing spoofed, the whole body, and few connections."""
        served: list[int] = []  # how many requests the upstream connection had carried
        for visit in self._sessions():
            answer = self._request(visit, CHECK, traffic.SPOOFED_HEADERS)
            if answer.status != http.HTTPStatus.OK:
                self.found.append(f"{CHECK} was answered with {answer.status}")
                return
            pairs: list[list[str]] = json.loads(answer.body)
            self.found.extend(
                check_echo(
                    pairs,
                    visit.cookie,
                    self.listen_port,
                    self.client.cipher,
                    host=visit.host,
                    has_session_id=self.scenario.has_session_ids,
                )
            )
            bench = dict(pairs)
            port = bench["X-Bench-Upstream-Port"]
            if visit.owner is not None and port != str(visit.owner.port):
                self.found.append(f"a session of the server on {visit.owner.port} reached {port}")
            sent = traffic.upload_body(self.scenario.upload_bytes)
            if sent and bench[BODY_HEADER] != describe_body(sent):
                self.found.append(f"an upload arrived as {bench[BODY_HEADER]}")
            served.append(int(bench["X-Bench-Connection-Requests"]))
        if max(served) == 1:
            self.found.append("upstream connections are not used again")

    def _sessions(self) -> list[Visit]:
        """Several of each of some servers, one server's after the other's."""
        sample = self.site.samples[0]
        owners: list[Member | None] = [*self.site.clusters[sample.cluster].owners[:OWNERS_TRIED]]
        return [
            self._visit(sample, owner, number)
            for owner in owners or [None]
            for number in range(SESSIONS_TRIED)
        ]

    def _visit(self, sample: Sample, owner: Member | None, number: int) -> Visit:
        scenario = self.scenario
        return traffic.visit(
            self.site,
            sample,
            owner,
            number,
            clone_ids=scenario.clone_ids,
            length=scenario.cookie_bytes,
        )

    def tls(self) -> None:
        """What was agreed on, on all connections until now."""
        self.found.extend(tls_complaints(self.scenario, self.client))

    def _request(self, visit: Visit, answer: str, more: tuple[tuple[str, str], ...] = ()) -> Answer:
        """One request as wrk sends it; its connection is kept or ended as the scenario says."""
        scenario = self.scenario
        host = traffic.host_field(visit.host, self.listen_port)
        headers = traffic.browser_headers(host, answer, scenario.scheme, closes=scenario.closes)
        headers += [("Cookie", visit.cookie), *more]
        body = traffic.upload_body(scenario.upload_bytes)
        if body:
            headers.append(("Content-Length", str(len(body))))
        got = self.client.exchange(scenario.method, visit.path, headers, body)
        if got.says_close and not scenario.closes:
            self.found.append("closes the client's connection")
        if scenario.closes and not self.client.is_closed_by_peer():
            self.found.append(f"leaves the client's connection open, {ANSWER_S:.0f} s and more")
        if got.says_close or scenario.closes:
            self.client.close()
        return got
