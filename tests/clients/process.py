"""Client programs as child processes, bounded in time, killed with all their children."""

import os
import signal
import subprocess
import threading
import time

from lines import parse_consume, produce_line

# Lines of one program's log that a failed check prints, and the length of one.
LOG_LINES, LOG_COLUMNS = 30, 400

_running = set()


class Failed(Exception):
    """A check found what it must not find."""


class Check:
    """One check in progress: its names, its deadline, its processes and their logs."""

    def __init__(self, bootstrap, suffix, folder, seconds):
        self.bootstrap, self.suffix, self.folder = bootstrap, suffix, folder
        self.deadline = time.monotonic() + seconds
        self.seconds = seconds
        self.processes = []
        # Whatever blocks on a process, at the deadline the process is gone.
        self.watchdog = threading.Timer(seconds, self._kill)
        self.watchdog.daemon = True
        self.watchdog.start()
        folder.mkdir(parents=True, exist_ok=True)

    def name(self, what):
        """A topic or group name that no other run and no other check uses."""
        return f"clients-{self.folder.name}-{what}-{self.suffix}"

    def left(self):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Failed(f"not done within {self.seconds} s")
        return left

    def wait(self, what, holds):
        """Polls until it holds; a consumer that has ended meanwhile is a failure."""
        while not holds():
            try:
                self.left()
            except Failed as error:
                raise Failed(f"{error}: still waiting for {what}") from error
            for process in self.processes:
                process.must_run()
            time.sleep(0.05)

    def start(self, kind, program, *arguments):
        self.left()
        process = kind(self, program, arguments)
        self.processes.append(process)
        return process

    def close(self):
        self.watchdog.cancel()
        self._kill()

    def _kill(self):
        for process in list(self.processes):
            process.kill()

    def logs(self, names="*"):
        """The last lines of what the programs said."""
        for path in sorted(self.folder.glob(names)):
            text = path.read_text(errors="replace").splitlines()[-LOG_LINES:]
            yield from (f"    {path.stem}: {line[:LOG_COLUMNS]}" for line in text)


class Process:
    """A client program with its standard error in a log file."""

    def __init__(self, check, program, arguments, stdin=None):
        self.check, self.what = check, f"{program.name} {arguments[0]}"
        self.expected_to_run = False
        log = f"{len(check.processes):02}-{program.name}-{arguments[0]}.log"
        with open(check.folder / log, "wb") as errors:
            self.child = subprocess.Popen(
                [str(part) for part in (*program.command, *arguments)],
                stdin=stdin or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **program.environment},
                start_new_session=True,
            )
        _running.add(self.child.pid)

    def must_run(self):
        if self.expected_to_run and self.child.poll() is not None:
            raise Failed(f"{self.what} ended by itself with status {self.child.returncode}")

    def kill(self):
        """SIGKILL, to the program and whatever it started."""
        self.expected_to_run = False
        _kill_group(self.child.pid)
        self.child.wait()
        _running.discard(self.child.pid)

    def ended(self):
        status = self.child.wait()  # the check's watchdog bounds it
        try:
            self.check.left()
        except Failed as error:
            raise Failed(f"{error}: still waiting for {self.what} to end") from error
        if status:
            raise Failed(f"{self.what} ended with status {status}")

    def output(self):
        """All that it prints, until it ends."""
        text = self.child.stdout.read().decode()
        self.ended()
        return text


class Producer(Process):
    """Records go in as they are written; closing it gives the count of acknowledgements."""

    def __init__(self, check, program, arguments):
        arguments = ("produce", check.bootstrap, *arguments)
        super().__init__(check, program, arguments, subprocess.PIPE)

    def write(self, record):
        self.child.stdin.write(produce_line(record).encode())
        self.child.stdin.flush()

    def finish(self, expected):
        try:
            self.child.stdin.close()
        except BrokenPipeError:
            pass  # its exit status says more
        text = self.output()
        if text.strip() != str(expected):
            raise Failed(f"{expected} records sent, {text.strip() or 'none'} acknowledged")


class Consumer(Process):
    """Reads into `records` from a thread, in the order printed, until told to stop."""

    def __init__(self, check, program, arguments):
        super().__init__(check, program, ("consume", check.bootstrap, *arguments))
        self.expected_to_run = True
        self.records = []
        self.broken = None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stdout:
            if not line.endswith(b"\n"):
                return  # cut off by a kill
            try:
                self.records.append(parse_consume(line.decode()))
            except ValueError as error:
                self.broken = f"cannot read {line[:200]!r}: {error}"
                return

    def must_run(self):
        super().must_run()
        if self.broken:
            raise Failed(self.broken)

    def kill(self):
        super().kill()
        self.reader.join()

    def stop(self):
        """SIGTERM: leaves the group and commits, as a program that ends well does."""
        self.must_run()
        self.expected_to_run = False
        self.child.send_signal(signal.SIGTERM)
        self.ended()
        self.reader.join()
        if self.broken:
            raise Failed(self.broken)


def _kill_group(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def kill_all():
    for pid in list(_running):
        _kill_group(pid)
