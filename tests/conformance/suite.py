"""What a suite is to the runner, and the one way commands are run with a time limit."""

import os
import signal
import subprocess
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """What became of one test: "pass", "fail" or "skip", and why."""

    test: str
    state: str
    why: str = ""


@dataclass(frozen=True)
class Job:
    """What is started as one process: a name, and the tests whose outcomes it gives."""

    name: str
    tests: tuple = field(default=())


@dataclass(frozen=True)
class Finished:
    """How a command ended; `status` is None when its time was up."""

    status: int | None
    output: str


def run_for(seconds, command, where, environment=None, log=None):
    """Runs a command, with all that it starts, for at most so long."""
    env = {**os.environ, **(environment or {})}
    with open(log or os.path.join(where, "log"), "w+b") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=where,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end_session(process)
        output.seek(0)
        return Finished(status, output.read().decode(errors="replace"))


def _end_session(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
