#!/usr/bin/env python3
"""Runs every command of the documentation: `docs/test.py`, as root.

What stands behind a fence's language says what to do with the block:

    ```sh run           in the pod, beside a running server (`run client`: on the VLAN client;
                        `run host`: in the repository, with $PID the server's)
    ```sh serve         a server: it must get ready, answer the client's ping and GET, and end with
                        0 on SIGTERM
    ```console run      lines behind "$ " are run; the first line of the output shown must be
                        printed, whatever its numbers are
    ```text startup-conf, ```toml check     a configuration, which is checked and kept for `serve`
    ```sh norun: why    is not run

A block of one of these languages without a marker is an error. The network is the proof of
concept's, in namespaces of its own, and the file system an overlay: nothing outside is changed.
"""

import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ADDRESS = "192.168.123.150"
TIMEOUT = 30
LANGUAGES = ("sh", "console", "bash", "shell")
SERVE = ["dataplane", "serve", "--interface", "macvlan0", "--vlan", "123",
         "--address", f"{ADDRESS}/24", "--www-root", "/www"]


def fail(text):
    sys.exit(f"FAILED: {text}")


class Block:
    def __init__(self, path, line, language, marker):
        self.where, self.language, self.marker = f"{path.relative_to(ROOT)}:{line}", language, marker
        self.lines = []

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"


def blocks(path):
    """The fenced blocks of `path`."""
    block = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if block is None and line.startswith("```"):
            language, _, marker = line[3:].partition(" ")
            block = Block(path, number, language, marker.strip())
        elif block is not None and line.startswith("```"):
            yield block
            block = None
        elif block is not None:
            block.lines.append(line)


BOOT = r"""
set -euo pipefail
work=$1 root=$2 target=$3
mount --make-rprivate /
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/scratch" "$work/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/scratch" "$work/root"
cd "$work/root"
for kept in proc sys dev; do mount --rbind "/$kept" "$kept"; done
for fresh in run tmp; do mount -t tmpfs tmpfs "$fresh"; done
for kept in "$root" "$target"; do mkdir -p ".$kept"; mount --rbind "$kept" ".$kept"; done
mkdir -p www conf tmp/docs
echo Welcome >www/index.html
install -D "$target/debug/dataplane" usr/local/bin/dataplane
exec chroot . sh -c 'echo world; exec sleep infinity'
"""


class World:
    """The namespaces, an overlay of the file system, and a server in the pod."""

    def __init__(self):
        self.server = self.holder = self.wire = None
        self.work = tempfile.mkdtemp(prefix="dataplane-docs.")
        try:
            self.build()
        except BaseException:
            self.close()
            raise

    def build(self):
        target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
        for package in (["-p", "dataplane-runtime", "--bin", "dataplane"], ["-p", "testbed", "--example", "wire"]):
            subprocess.run(["cargo", "build", "--quiet", "--locked", *package], cwd=ROOT, check=True)
        self.wire = subprocess.Popen([f"{target}/debug/examples/wire"], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)
        self.net = {}
        while "pod" not in self.net:
            line = self.wire.stdout.readline()
            if not line:
                fail("the wiring was not built")
            name, _, path = line.strip().partition("=")
            self.net[name] = path
        self.holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "bash", "-c", BOOT, "-", self.work, ROOT, target],
            stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "world\n":
            fail("the overlay was not mounted")
        link = self.run("ip -o link show macvlan0", "pod").stdout
        self.mac = re.search(r"link/ether (\S+)", link).group(1)

    def command(self, arguments, place):
        net = self.net["client" if place == "client" else "pod"]
        if place == "host":
            return ["nsenter", f"--target={self.holder.pid}", "--mount", "--root", f"--wd={ROOT}", *arguments]
        return ["nsenter", f"--net={net}", f"--target={self.holder.pid}", "--mount", "--root",
                "bash", "-c", 'cd /tmp/docs && exec "$@"', "-", *arguments]

    def run(self, script, place):
        environment = {**os.environ, "PID": str(self.server.pid if self.server else "")}
        environment.pop("XDG_RUNTIME_DIR", None)
        return subprocess.run(self.command(["bash", "-euo", "pipefail", "-c", script], place),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=TIMEOUT, env=environment)

    def start(self, arguments, where):
        """Starts a server and waits for its ready line. `nsenter` becomes it, so its pid is known."""
        self.stop()
        environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
        self.server = subprocess.Popen(self.command(arguments, "pod"), stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        if not select.select([self.server.stdout], [], [], TIMEOUT)[0]:
            fail(f"{where}: it does not get ready")
        line = self.server.stdout.readline()
        if not line.startswith("ready: "):
            fail(f"{where}: it says {line!r} instead of ready")

    def stop(self):
        """Ends the server; returns its status."""
        if self.server is None:
            return 0
        self.server.send_signal(signal.SIGTERM)
        try:
            return self.server.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.server.kill()
            return self.server.wait()
        finally:
            self.server = None

    def close(self):
        self.stop()
        if self.holder:
            self.holder.kill()
            self.holder.wait()
        if self.wire:
            self.wire.stdin.close()
            self.wire.wait(TIMEOUT)
        shutil.rmtree(self.work, ignore_errors=True)


def masked(line):
    """`line` without its numbers and its spacing, which differ from run to run."""
    return " ".join(re.sub(r"[0-9a-f]*[0-9][0-9a-f]*", "#", line).split())


def run_console(world, block, place):
    steps = []
    for line in block.lines:
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif steps:
            steps[-1][1].append(line)
        else:
            fail(f"{block.where}: output before the first command")
    for command, shown in steps:
        result = world.run(command, place)
        shown = [line for line in shown if line.strip()]
        if shown and masked(shown[0]) not in map(masked, result.stdout.splitlines()):
            fail(f"{block.where}: $ {command}\nshows {shown[0]!r}, but printed\n{result.stdout}")
        if not shown and result.returncode:
            fail(f"{block.where}: $ {command}\nended with {result.returncode}\n{result.stdout}")
    return len(steps)


def serve(world, block):
    script = block.text.replace("\\\n", " ").strip()
    world.start(["bash", "-c", f"exec {script}"], block.where)
    for probe in (f"ping -c 1 -W 1 {ADDRESS}", f"curl -sSf --max-time 5 http://{ADDRESS}/index.html | grep Welcome"):
        result = world.run(probe, "client")
        if result.returncode:
            fail(f"{block.where}: {probe}\n{result.stdout}")
    if status := world.stop():
        fail(f"{block.where}: it ended with {status}")
    world.start(SERVE, "the server")


def keep(world, block, name, option):
    """Writes a configuration where the pages say it is, and checks it."""
    text = block.text.replace("c6:b4:b5:74:11:88", world.mac)
    script = f"tee {name} >/conf/{name} <<'END'\n{text}END\ndataplane check {option} {name}"
    result = world.run(script, "pod")
    if result.returncode:
        fail(f"{block.where}: {result.stdout}")


def main():
    if os.geteuid():
        fail("needs root: it makes namespaces")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = [block for page in pages for block in blocks(page)]
    world, ran, told = World(), 0, []
    try:
        world.start(SERVE, "the server")
        for block in found:
            verb, _, rest = block.marker.partition(" ")
            if block.language in LANGUAGES and verb == "norun:" and rest:
                told.append(f"{block.where}: not run: {rest}")
            elif block.language in LANGUAGES and verb == "run" and rest in ("", "client", "host"):
                if block.language == "console":
                    ran += run_console(world, block, rest or "pod")
                    continue
                result = world.run(block.text, rest or "pod")
                if result.returncode:
                    fail(f"{block.where}: ended with {result.returncode}\n{result.stdout}")
                ran += 1
            elif block.language == "sh" and verb == "serve":
                serve(world, block)
                ran += 1
            elif block.marker == "startup-conf":
                keep(world, block, "startup.conf", "--startup-config")
                ran += 1
            elif (block.language, block.marker) == ("toml", "check"):
                keep(world, block, "dataplane.toml", "--config")
                ran += 1
            elif block.language in LANGUAGES or (block.marker and block.language != "rust"):
                fail(f"{block.where}: say behind ```{block.language} whether and how it is run (docs/test.py)")
    finally:
        world.close()
    print("\n".join(told))
    print(f"{ran} commands and configurations of {len(pages)} pages hold")


main()
