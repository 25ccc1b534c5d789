"""librdkafka's own tests, built from the sources that its Node.js package carries.

Its tests that need no broker, that shape the network themselves (sockem), or that their authors
run by hand are left out; so are those that its test runner leaves out for their known issues.
"""

import re
import shutil

import tools
from install import cache_root, run_command
from suite import Job, Outcome, run_for

PACKAGE = "@confluentinc/kafka-javascript@1.10.1"
NEEDS = (
    "g++ libcurl4-openssl-dev libsasl2-dev libssl-dev libzstd-dev make rapidjson-dev zlib1g-dev"
).split()
TEST_SECONDS = 240
LEFT_OUT = ("TEST_F_LOCAL", "TEST_F_SOCKEM", "TEST_F_MANUAL")
# One entry of the table in test.c: number, rest of the name, flags, the rest.
ENTRY = re.compile(r"_TEST\((\d{4})_(\w+),\s*([^,)]*)(.*?)\),\n", re.DOTALL)
# One line of the summary: name, state, seconds, what failed.
LINE = re.compile(r"^\| *(\d{4}_\w+) *\| *([A-Z]+) *\| *[\d.]+s *\| *(.*)$", re.MULTILINE)
# What a failing test prints, also when the whole test runner then aborts.
FAILURE = re.compile(r'^### Test "(\d{4}_\w+)(.*?)" failed at (.*?) at .*? ###\n(.*)', re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
STATES = {"PASSED": "pass", "SKIPPED": "skip"}
FAST = ("0001 0008 0011 0012 0013 0017 0019 0022 0026 0030 0031 0039 0042 0044 0052 0054 0057 "
        "0059 0061 0063 0067 0070 0073 0081 0085 0090 0099 0112 0130 0140").split()
# What the runner is told about the broker: features appear and vanish with versions.
BROKER_VERSION = "4.3.0"


def prepare(cache):
    tools.prepare(cache_root() / "conformance-tools")
    if (cache / "tests").exists():
        return
    made = cache.with_suffix(".making")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    run_command(["apt-get", "update"], made)
    run_command(["apt-get", "install", "-y", "--no-install-recommends", *NEEDS], made)
    run_command(["npm", "pack", PACKAGE], made)
    (archive,) = made.glob("*.tgz")
    run_command(["tar", "xzf", archive, "package/deps/librdkafka"], made)
    sources = made / "package/deps/librdkafka"
    run_command(["./configure"], sources)
    for folder in ("src", "src-cpp"):
        run_command(["make", "-j2", "-C", folder], sources)
    run_command(["make", "-j2", "-C", "tests", "build"], sources)
    shutil.rmtree(cache, ignore_errors=True)
    sources.rename(cache)
    shutil.rmtree(made)


def jobs(cache, fast):
    """One job a number: the test runner selects by it."""
    numbers = {}
    for number, rest, flags, more in ENTRY.findall((cache / "tests/test.c").read_text()):
        scenario = re.search(r'\.scenario = "([^"]*)"', more)
        if any(flag in flags for flag in LEFT_OUT):
            continue
        if scenario and "default" not in scenario.group(1):
            continue
        if not fast or number in FAST:
            numbers.setdefault(number, []).append(f"{number}_{rest}")
    return [Job(number, tuple(names)) for number, names in sorted(numbers.items())]


def run(cache, job, bootstrap, folder):
    conf = folder / "test.conf"
    conf.write_text(
        f"metadata.broker.list={bootstrap}\ntest.topic.random=true\n"
        f"test.topic.prefix=rdkafka{job.name}\n"
    )
    # The tests write beside themselves and read ../src.
    where = folder / "tests"
    where.mkdir(exist_ok=True)
    if not (folder / "src").exists():
        (folder / "src").symlink_to(cache / "src")
    done = run_for(
        TEST_SECONDS,
        [cache / "tests/test-runner", "-p1", "-Q", "-E", "-L"],
        where,
        {
            "TESTS": job.name,
            "TEST_KAFKA_VERSION": BROKER_VERSION,
            "RDKAFKA_TEST_CONF": str(conf),
            "KAFKA_PATH": str(cache_root() / "conformance-tools"),
            "BROKERS": bootstrap,
            "LD_LIBRARY_PATH": f"{cache / 'src'}:{cache / 'src-cpp'}",
        },
    )
    return outcomes(job, done)


def outcomes(job, done):
    output = COLOUR.sub("", done.output)
    lines = {name: rest for name, *rest in LINE.findall(output)}
    failures = {}
    for name, subtest, place, why in FAILURE.findall(output):
        failures.setdefault(name, f"{subtest.strip()} {place}: {why}".strip())
    found = []
    for name in job.tests:
        if name in failures:
            found.append(Outcome(name, "fail", failures[name]))
        elif name in lines:
            state, why = lines[name]
            found.append(Outcome(name, STATES.get(state, "fail"), why.strip()))
        else:
            found.append(Outcome(name, *_without_a_line(done.status)))
    return found


def _without_a_line(status):
    if status is None:
        return "fail", f"still running after {TEST_SECONDS} s"
    if status == 0:
        return "skip", "the test runner leaves it out"
    return "fail", f"the test runner ended with status {status}"
