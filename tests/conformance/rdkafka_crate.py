"""The tests of the Rust crate rdkafka, which builds librdkafka for itself."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from install import InstallError, run_command
from suite import Job, Outcome, run_for

VERSION = "0.38.0"
FILES = ("admin", "high_consumers", "high_producers", "low_consumers", "low_producers", "metadata",
         "topic_partition_list", "transactions")
TEST_SECONDS = 300
LINE = re.compile(r"^test (\S+) (?:- should panic )?\.\.\. (?:.*\n)??.*?(ok|FAILED|ignored)$",
                  re.MULTILINE)
PANIC = re.compile(r"^thread '(\S+)'.* panicked at (.*):\n(.*)", re.MULTILINE)
STATES = {"ok": "pass", "FAILED": "fail", "ignored": "skip"}


def prepare(cache):
    if (cache / "built").exists():
        return
    shutil.rmtree(cache, ignore_errors=True)
    (cache / "fetch/src").mkdir(parents=True)
    (cache / "fetch/src/lib.rs").touch()
    (cache / "fetch/Cargo.toml").write_text(
        f'[package]\nname = "fetch"\nedition = "2021"\n\n[dependencies]\nrdkafka = "={VERSION}"\n'
    )
    shutil.copytree(_sources(cache / "fetch"), cache / "sources")
    run_command(["cargo", "test", "--no-run", "--locked"], cache / "sources")
    (cache / "built").touch()


def _sources(project):
    """Where cargo has put the crate."""
    done = subprocess.run(
        ["cargo", "metadata", "--format-version=1"], cwd=project, capture_output=True, text=True
    )
    if done.returncode:
        raise InstallError(done.stderr[-3000:])
    packages = json.loads(done.stdout)["packages"]
    (manifest,) = (p["manifest_path"] for p in packages if p["name"] == "rdkafka")
    return Path(manifest).parent


def jobs(_cache, _fast):
    return [Job(name) for name in FILES]


def run(cache, job, bootstrap, folder):
    done = run_for(
        TEST_SECONDS,
        ["cargo", "test", "--locked", "--test", f"test_{job.name}", "--", "--test-threads=2"],
        cache / "sources",
        {"KAFKA_HOST": bootstrap, "CARGO_TERM_COLOR": "never"},
        log=folder / "log",
    )
    panics = {}
    for test, place, why in PANIC.findall(done.output):
        panics.setdefault(test, f"{place}: {why}"[:300])
    found = {test: STATES[state] for test, state in LINE.findall(done.output)}
    if not found or done.status is None:
        return [Outcome(job.name, "fail", f"status {done.status}: {done.output[-300:]!r}")]
    return [Outcome(test, state, panics.get(test, "")) for test, state in found.items()]
