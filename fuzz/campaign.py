#!/usr/bin/env python3
"""Runs the fuzz targets and prints what was executed: `make fuzz-campaign RUNS=1000000`.

`campaign.py run` builds the targets with `cargo +nightly fuzz build` and runs each until RUNS
executions or SECONDS are over; `campaign.py table` prints the table of all logs there are;
`campaign.py merge` adds to the corpora what covers something new. Every figure is read from what
libFuzzer printed.
"""

import argparse
import concurrent.futures
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys

FUZZ = pathlib.Path(__file__).resolve().parent
# What the corpus of one target may grow to by `merge`; `cargo test` replays all of it.
FILES_MAX, OCTETS_MAX = 300, 300 * 1024
EXECUTED = re.compile(rb"^stat::number_of_executed_units:\s*(\d+)$", re.MULTILINE)
DONE = re.compile(rb"^Done (\d+) runs in (\d+) second\(s\)$", re.MULTILINE)


def targets(wanted):
    """The targets of that name, or all, in the order of the table in README.md."""
    readme = (FUZZ / "README.md").read_text()
    known = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", readme, re.MULTILINE)))
    known = [name for name in known if (FUZZ / "targets" / f"{name}.rs").exists()]
    missing = {path.stem for path in (FUZZ / "targets").glob("*.rs")} ^ set(known)
    if missing:
        sys.exit(f"{FUZZ}/README.md: its table and targets/ differ in {', '.join(sorted(missing))}")
    unknown = set(wanted) - set(known)
    if unknown:
        sys.exit(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted]


def build(arguments):
    """Builds all targets; the folder they are in."""
    host = re.search(r"^host: (.*)$", subprocess.check_output(["rustc", "-vV"], text=True), re.MULTILINE)
    out = FUZZ / "target" / f"sanitizer-{arguments.sanitizer}"
    command = ["cargo", "+nightly", "fuzz", "build", "--fuzz-dir", FUZZ, "--sanitizer", arguments.sanitizer]
    subprocess.run([*command, "--target-dir", out], cwd=FUZZ.parent, check=True)
    return out / host.group(1) / "release"


def work(arguments, name):
    """Where a target keeps what it finds from run to run."""
    folder = arguments.out / "corpus" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_one(arguments, programs, name):
    """Runs one target to its end; whether it passed."""
    names = (arguments.out / f"{name}.{number}.log" for number in itertools.count())
    log = next(path for path in names if not path.exists())
    command = [
        programs / name, work(arguments, name), FUZZ / "corpus" / name,
        f"-runs={arguments.runs}", f"-max_total_time={arguments.seconds}", "-print_final_stats=1",
        # By the clock on the wall, and the machine may have something else to do.
        "-timeout=300", "-rss_limit_mb=2048", f"-artifact_prefix={arguments.out}/{name}-",
        *arguments.option,
    ]
    # Each execution takes and gives back the same memory, which need not go to the kernel and back.
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "33554432"}
    with log.open("wb") as output:
        ended = subprocess.run(["nice", "-n", "19", *command], stdout=output, stderr=output, env=environment)
    passed = ended.returncode == 0
    executed, seconds, _ = figures([log])
    print(f"{name}: {executed:,} executions in {seconds} s{'' if passed else f', FAILED: see {log}'}", flush=True)
    return passed


def figures(logs):
    """Executions and seconds of the runs in `logs` that came to their end, and how many did not."""
    executed = seconds = failed = 0
    for log in logs:
        text = log.read_bytes()
        done, count = DONE.search(text), EXECUTED.search(text)
        # What failed, or goes on, counts for nothing.
        if done and count:
            executed += int(count.group(1))
            seconds += int(done.group(2))
        else:
            failed += 1
    return executed, seconds, failed


def run(arguments):
    programs = arguments.programs or build(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        passed = list(pool.map(lambda name: run_one(arguments, programs, name), targets(arguments.target)))
    return table(arguments) if all(passed) else 1


def corpus(name):
    """Files of a corpus and their octets."""
    sizes = [path.stat().st_size for path in (FUZZ / "corpus" / name).iterdir()]
    return len(sizes), sum(sizes)


def table(arguments):
    total = total_seconds = total_failed = 0
    print("| target | executions | per second | corpus: files | octets |")
    print("|---|---:|---:|---:|---:|")
    for name in targets(arguments.target):
        executed, seconds, failed = figures(sorted(arguments.out.glob(f"{name}.*.log")))
        rate = f"{executed // seconds:,}" if seconds else ""
        files, octets = corpus(name)
        print(f"| `{name}` | {executed:,} | {rate} | {files} | {octets:,} |")
        total, total_seconds, total_failed = total + executed, total_seconds + seconds, total_failed + failed
    rate = f"{total // total_seconds:,}" if total_seconds else ""
    print(f"| all, {total_failed} failed | {total:,} | {rate} | | |")
    return 1 if total_failed else 0


def merge(arguments):
    programs = arguments.programs or build(arguments)
    for name in targets(arguments.target):
        found = arguments.out / "merged" / name
        shutil.rmtree(found, ignore_errors=True)
        shutil.copytree(FUZZ / "corpus" / name, found)
        before = {path.name for path in found.iterdir()}
        # For what it reaches, not for how often it does.
        command = [programs / name, "-set_cover_merge=1", "-use_counters=0", "-timeout=300", found, work(arguments, name)]
        with (arguments.out / f"{name}.merge").open("wb") as output:
            subprocess.run(["nice", "-n", "19", *command], stdout=output, stderr=output, check=True)
        files, octets = corpus(name)
        fresh = [path for path in found.iterdir() if path.name not in before]
        # Small ones first, so that the bound cuts off the large ones.
        for path in sorted(fresh, key=lambda path: path.stat().st_size):
            files, octets = files + 1, octets + path.stat().st_size
            if files > FILES_MAX or octets > OCTETS_MAX:
                break
            shutil.copy(path, FUZZ / "corpus" / name)
        print(f"{name}: {len(fresh)} new, {corpus(name)[0]} files of {corpus(name)[1]:,} octets in all", flush=True)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("deed", choices=["run", "table", "merge"])
    parser.add_argument("target", nargs="*", help="all, if none is named")
    parser.add_argument("--runs", type=int, default=1_000_000, help="executions of each target")
    parser.add_argument("--seconds", type=int, default=0, help="at most, of each target; 0 for any")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="targets at a time")
    parser.add_argument("--sanitizer", default="none", help="as of cargo fuzz; address for the rings")
    parser.add_argument("--out", type=pathlib.Path, default=FUZZ / "target" / "campaign", help="logs and corpora")
    parser.add_argument("--programs", type=pathlib.Path, help="where built targets are, instead of building")
    parser.add_argument("--option", action="append", default=[], help="for libFuzzer, as -max_len=4096")
    arguments = parser.parse_intermixed_args()
    arguments.out = arguments.out.resolve()
    return {"run": run, "table": table, "merge": merge}[arguments.deed](arguments)


if __name__ == "__main__":
    sys.exit(main())
