"""Runs foreign clients against a running broker and says what each of them found.

usage: run.py BOOTSTRAP [CLIENT…]    clients: java kcat confluent-kafka kafka-python kafkajs
                                     franz-go sarama aiokafka; all of them unless some are named
"""

import atexit
import secrets
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import checks
from install import CLIENTS, InstallError, prepare
from process import Check, Failed, kill_all
from wire import WireError

CHECK_SECONDS = 90
PARALLEL = 3
# The long one first, so that the short ones fill the gaps beside it.
CHECKS = (checks.takeover, checks.restart, checks.roundtrip)
JAVA_CHECKS = (checks.hello, checks.admin)


class Report:
    """Prints one line a check as it comes, and counts."""

    def __init__(self):
        self.passed = self.failed = 0

    def add(self, client, name, why, logs=()):
        if why is None:
            self.passed += 1
            print(f"ok {client} {name}", flush=True)
            return
        self.failed += 1
        first, *more = str(why).splitlines() or [type(why).__name__]
        print(f"FAIL {client} {name}: {first}")
        for line in (*(f"    {line}" for line in more), *logs):
            print(line)
        sys.stdout.flush()


def attempt(check, work):
    """Runs one check to its end; returns (its result, why it failed or None)."""
    try:
        return work(check), None
    except (Failed, WireError) as error:
        return None, error
    except Exception as error:  # whatever it is, the other checks go on
        return None, f"{type(error).__name__}: {error}"
    finally:
        check.close()


def run(bootstrap, clients):
    report, programs, suffix = Report(), {}, secrets.token_hex(4)
    for client in clients:
        try:
            programs[client] = prepare(client)
        except (InstallError, OSError) as error:
            report.add(client.name, "install", error)
    with tempfile.TemporaryDirectory(prefix="millstream-clients-") as logs:

        def checking(client, check):
            folder = Path(logs) / f"{client.name}-{check.__name__}"
            context = Check(bootstrap, suffix, folder, CHECK_SECONDS)
            work = lambda context: check(context, client, programs[client])
            return client, check, context, attempt(context, work)[1]

        with ThreadPoolExecutor(PARALLEL) as pool:
            tasks = [(c, check) for check in CHECKS for c in programs]
            tasks += [(c, check) for check in JAVA_CHECKS for c in programs if c.name == "java"]
            try:
                for done in as_completed([pool.submit(checking, *task) for task in tasks]):
                    client, check, context, why = done.result()
                    report.add(client.name, check.__name__, why, context.logs())
            except BaseException:  # told to stop
                pool.shutdown(wait=False, cancel_futures=True)
                kill_all()
                raise
        if len(programs) > 1:
            context = Check(bootstrap, suffix, Path(logs) / "cross", CHECK_SECONDS)
            outcome, why = attempt(context, lambda context: checks.cross(context, programs))
            for client in programs:
                reason = outcome[client] if outcome else why
                report.add(client.name, "cross", reason, context.logs(f"*-{client.name}-*"))
    return report


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    bootstrap, *names = sys.argv[1:]
    known = {client.name: client for client in CLIENTS}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"unknown client {unknown[0]}; known: {' '.join(known)}")
    atexit.register(kill_all)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))
    started = time.monotonic()
    report = run(bootstrap, [known[name] for name in names] or CLIENTS)
    print(f"{time.monotonic() - started:.0f} seconds")
    print(f"{report.passed} passed, {report.failed} failed")
    sys.exit(1 if report.failed or not report.passed else 0)


main()
