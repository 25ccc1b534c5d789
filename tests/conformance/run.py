"""Runs other projects' test suites against a running broker; see README.md.

usage: run.py [--fast] [--suite SUITE]… [--only TEST]… [--logs DIR] BOOTSTRAP
"""

import argparse
import hashlib
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

import kafka_python
import librdkafka
import rdkafka_crate
import tools
from install import InstallError, cache_root
from suite import Outcome
from table import Table

SUITES = {
    "tools": tools,
    "kafka-python": kafka_python,
    "librdkafka": librdkafka,
    "rdkafka": rdkafka_crate,
}
# In a fast run, unless some are named: rdkafka takes minutes to build.
FAST = ("tools", "kafka-python", "librdkafka")
PARALLEL = 3


def main():
    args = arguments()
    table = Table.read(HERE / "NOT-PASSED.md")
    counts = {}
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="millstream-conformance-") as scratch:
        logs = Path(args.logs or scratch)
        for name in args.suite or (FAST if args.fast else SUITES):
            for outcome in run_suite(name, args, table, logs / name):
                verdict = table.verdict(name, outcome)
                wrong += verdict.wrong
                counts[verdict.word] = counts.get(verdict.word, 0) + 1
                print(f"{verdict.word} {name} {outcome.test} {verdict.why}".rstrip(), flush=True)
    print(", ".join(f"{count} {word}" for word, count in sorted(counts.items())))
    return 1 if wrong or not counts else 0


def run_suite(name, args, table, logs):
    suite = SUITES[name]
    cache = cache_root() / f"conformance-{name}-{digest(suite)}"
    try:
        suite.prepare(cache)
    except (InstallError, OSError) as error:
        yield Outcome("install", "fail", str(error))
        return
    jobs = [job for job in suite.jobs(cache, args.fast) if not args.only or job.name in args.only]

    def work(job):
        folder = logs / job.name
        folder.mkdir(parents=True, exist_ok=True)
        attempt = lambda: suite.run(cache, job, args.bootstrap, folder)
        outcomes = attempt()
        # Suites have races of their own, above all on slow machines: what fails must fail twice.
        if any(table.verdict(name, outcome).wrong for outcome in outcomes):
            outcomes = attempt()
        return outcomes

    with ThreadPoolExecutor(PARALLEL) as pool:
        for done in as_completed([pool.submit(work, job) for job in jobs]):
            yield from done.result()


def digest(suite):
    """Of all that says what a suite installs, so that a change of it installs anew."""
    sources = [Path(suite.__file__), HERE / "pom.xml"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="the subset that CI runs")
    parser.add_argument("--logs", help="keep what the tests print, in this folder")
    parser.add_argument("--only", action="append", help="run these tests of the suite only")
    parser.add_argument("--suite", action="append", choices=SUITES, help="run this suite only")
    parser.add_argument("bootstrap")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
