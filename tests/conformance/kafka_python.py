"""kafka-python's integration tests, from its source package.

The package lacks the two files that start brokers; a broker that is there needs only the few lines
of `SERVICE`. Its tests of TLS and SASL start brokers of their own and are left out.

The client has a race: a subscription that comes while the first metadata are under way waits five
minutes for the next, so that now and then a test finds no records. What fails is tried again.
"""

import shutil
import sys
import xml.etree.ElementTree as xml

from install import run_command
from suite import Job, Outcome, run_for

VERSION = "3.0.12"
NEEDS = ["pytest==8.4.2", "pytest-timeout==2.4.0", "pytest-mock==3.15.1",
         "pytest-rerunfailures==16.1", "py==1.11.0",
         "lz4==4.4.5", "python-snappy==0.7.3", "zstandard==0.25.0"]
FILES = ("admin", "consumer", "producer")
SUITE_SECONDS = 900
TRIES_MORE = 3
SERVICE = '''
class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    def close(self):
        pass


class SpawnedService:
    pass
'''


def prepare(cache):
    if (cache / "installed").exists():
        return
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True)
    run_command([sys.executable, "-m", "venv", "venv"], cache)
    pip = cache / "venv/bin/pip"
    run_command(
        [pip, "download", "-q", "--no-deps", "--no-binary", ":all:", f"kafka-python=={VERSION}"],
        cache,
    )
    run_command(["tar", "xzf", f"kafka_python-{VERSION}.tar.gz"], cache)
    (cache / f"kafka_python-{VERSION}").rename(cache / "sources")
    (cache / "sources/test/service.py").write_text(SERVICE)
    (cache / "sources/test/__init__.py").touch()
    run_command([pip, "install", "-q", *NEEDS, "./sources"], cache)
    (cache / "installed").touch()


def jobs(_cache, fast):
    return [Job(name) for name in FILES]


def run(cache, job, bootstrap, folder):
    report = folder / "report.xml"
    done = run_for(
        SUITE_SECONDS,
        [cache / "venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider",
         f"--reruns={TRIES_MORE}", f"--junit-xml={report}",
         f"test/integration/test_{job.name}_integration.py"],
        cache / "sources",
        {"KAFKA_URI": f"kafka://{bootstrap}", "KAFKA_VERSION": "4.3.0", "KAFKA_ROOT": "/"},
        log=folder / "log",
    )
    if not report.exists():
        return [Outcome(job.name, "fail", f"no report, status {done.status}")]
    return [_outcome(case) for case in xml.parse(report).iter("testcase")]


def _outcome(case):
    name = case.get("name")
    for tag in ("failure", "error"):
        if (found := case.find(tag)) is not None:
            why = (found.get("message") or found.text or tag).strip()
            return Outcome(name, "fail", why.splitlines()[0][:300])
    if (skipped := case.find("skipped")) is not None:
        return Outcome(name, "skip", skipped.get("message") or "")
    return Outcome(name, "pass")
