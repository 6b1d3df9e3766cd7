"""
Runs the targets under libFuzzer, one after the other, then whole traffic; says for each how much was tried and what was found.

Driven by ``scripts/fuzz`` (``make fuzz``), which builds the instrumented extensions first. Crashing inputs are written to
tests/fuzz/corpus/TARGET, where ``test_replay`` picks them up; what libFuzzer learned stays in build/fuzz/TARGET for the
next run. What traffic found is printed, with the command that plays it again. Exit status 1 where anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.seeds import MAX_BYTES, dictionary, seeds
from tests.fuzz.targets import MISSING, TARGETS
from tests.fuzz.traffic.run import main as play_traffic

PROJECT = Path(__file__).resolve().parents[2]
BUILD = PROJECT / "build" / "fuzz"
CORPUS = PROJECT / "tests" / "fuzz" / "corpus"
# An input that hangs. By the clock, and on a busy machine a process may stand still for seconds: what an input may cost is
# measured by tests.fuzz.child, in CPU time.
TIMEOUT_S = 120
# The process, which keeps freed memory for AddressSanitizer and some hundred MiB of inputs and coverage. One allocation:
# a reader of some KiB that asks for so much was told to by its input.
RSS_MIB = 1024
MALLOC_MIB = 64
# Besides the time of the run: start, reading of the corpus, and the report of a crash with its symbols. On a machine that
# others keep busy all of it takes minutes.
GRACE_S = 600
# Instead of the status of a child that did not end in time; none has it.
DID_NOT_END = -1000
# No parser and not under libFuzzer: whole proxies between clients and servers of `tests.fuzz.traffic`.
TRAFFIC = "traffic"


@dataclass(frozen=True)
class Run:
    """What came of one target."""

    target: str
    executions: int
    coverage: int
    seconds: int
    found: tuple[Path, ...]
    status: int


def prepare(target: str) -> tuple[Path, Path, Path]:
    """Folder of what was learned, folder of seeds, and dictionary file; all written anew but the first. I/O."""
    base = BUILD / "runs" / target
    learned, given = base / "corpus", base / "seeds"
    learned.mkdir(parents=True, exist_ok=True)
    given.mkdir(parents=True, exist_ok=True)
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    for path in given.iterdir():
        path.unlink()
    for seed in seeds(target):
        (given / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = base / "words.dict"
    words.write_text(dictionary(target))
    return learned, given, words


def environment() -> dict[str, str]:
    """For the child: runtime preloaded, instrumented extensions first, every allocation seen."""
    atheris = importlib.util.find_spec("atheris")
    if atheris is None or atheris.origin is None:
        sys.exit("fuzz: atheris is not installed; run: make fuzz")
    runtime = Path(atheris.origin).parents[1] / "asan_with_fuzzer.so"
    return os.environ | {
        "LD_PRELOAD": str(runtime),
        # leaks: the interpreter keeps memory until its end on purpose. PYTHONMALLOC stays as it is: the parsers read from
        # ExactCopy, which asks malloc itself, and the oracles are four times as fast (test_replay runs with malloc).
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:quarantine_size_mb=64:malloc_context_size=12",
        "PYTHONPATH": str(PROJECT),  # for the targets; after the instrumented package
    }


def fuzz(target: str, seconds: int) -> Run:
    """Fuzzes one target for so long, or until it finds something."""
    learned, given, words = prepare(target)
    kept = CORPUS / target
    before = set(kept.iterdir())
    log = BUILD / "runs" / target / "log"
    command = [
        *(sys.executable, "-m", "tests.fuzz.child", target, str(BUILD / "lib")),
        *(str(learned), str(given), str(kept)),
        *(f"-max_total_time={seconds}", f"-max_len={MAX_BYTES[target]}", f"-dict={words}"),
        *(
            f"-timeout={TIMEOUT_S}",
            f"-report_slow_units={TIMEOUT_S}",
            f"-rss_limit_mb={RSS_MIB}",
            f"-malloc_limit_mb={MALLOC_MIB}",
        ),
        *(f"-artifact_prefix={kept}/", "-print_final_stats=1"),
    ]
    with log.open("wb") as file:
        try:
            status = subprocess.run(
                command,
                cwd=BUILD / "lib",  # python -m looks there before anything else
                env=environment(),
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=seconds + GRACE_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = DID_NOT_END
    text = log.read_text(errors="replace")
    covered = re.findall(r"\bcov: (\d+)", text)
    found = tuple(sorted(set(kept.iterdir()) - before))
    executions = re.search(r"stat::number_of_executed_units: (\d+)", text)
    ended = re.search(r"^Done \d+ runs in (\d+) second", text, re.MULTILINE)
    return Run(
        target=target,
        executions=int(executions[1]) if executions else 0,
        coverage=int(covered[-1]) if covered else 0,
        seconds=int(ended[1]) if ended else 0,
        found=found,
        status=status,
    )


def report(run: Run) -> bool:
    """Prints one line, and the end of the log where something is wrong; True where all is well."""
    rate = run.executions // max(run.seconds, 1)
    if run.status == 0 and run.executions:
        print(
            f"{run.target:14} clean: {run.executions:>10,} executions in {run.seconds} s "
            f"({rate:,}/s), {run.coverage} branches",
            flush=True,
        )
        return True
    log = BUILD / "runs" / run.target / "log"
    print(f"{run.target:14} FAILED (status {run.status}); log: {log}")
    for path in run.found:
        print(f"  kept for the tests: {path.relative_to(PROJECT)}")
    lines = log.read_text(errors="replace").splitlines()
    print("\n".join(f"  {line[:300]}" for line in lines[-40:]), flush=True)
    return False


def main() -> int:
    """0 where nothing was found."""
    targets = [*TARGETS, TRAFFIC]
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--time", type=int, default=60, help="seconds for each target")
    parser.add_argument("--target", default="", help=f"only this one of {', '.join(targets)}")
    parser.add_argument("--seed", default="", help="of traffic; default: another one each time")
    parser.add_argument(
        "--cases", default="", help="of traffic: NUMBER or FIRST-LAST, again and again"
    )
    parser.add_argument("--variant", default="", help="of traffic: only this proxy")
    options = parser.parse_args()
    if options.target in MISSING:
        sys.exit(f"fuzz: no target {options.target}: {MISSING[options.target]}")
    if options.target and options.target not in targets:
        sys.exit(f"fuzz: found target {options.target}; allowed is {', '.join(targets)}")
    chosen = [options.target] if options.target else targets
    clean = [report(fuzz(target, options.time)) for target in chosen if target != TRAFFIC]
    if TRAFFIC in chosen:
        given = {"seed": options.seed, "cases": options.cases, "variant": options.variant}
        more = [f"--{name}={value}" for name, value in given.items() if value]
        clean.append(play_traffic([f"--time={options.time}", *more]) == 0)
    if not options.target:
        for target, why in MISSING.items():
            print(f"{target:14} not there: {why}")
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
