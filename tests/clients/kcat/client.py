"""kcat behind the command line that every client here has; see ../README.md."""

import itertools
import signal
import subprocess
import sys

from lines import consume_line, parse_produce

# Between key and value, and between records: bytes that the checks' records do not contain.
KEY_END, RECORD_END = b"\x1f", b"\x1e"


def main():
    command, bootstrap, topic, *rest = sys.argv[1:]
    if command == "produce":
        produce(bootstrap, topic, *rest)
    elif command == "consume":
        consume(bootstrap, topic, *rest)
    else:
        sys.exit(f"unknown command {command}")


def produce(bootstrap, topic, codec="none"):
    """One kcat for each run of records with the same headers: it takes them as arguments."""
    records = (parse_produce(line) for line in sys.stdin)
    count = 0
    for (headers, null), run in itertools.groupby(records, lambda r: (r.headers, r.value is None)):
        arguments = ["kcat", "-P", "-b", bootstrap, "-t", topic, "-z", codec]
        arguments += ["-K", r"\x1f", "-D", r"\x1e"] + (["-Z"] if null else [])
        for name, value in headers:
            arguments += ["-H", name.encode() + (b"" if value is None else b"=" + value)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE) as kcat:
            for record in run:
                count += 1
                key = b"" if record.key is None else record.key + KEY_END
                kcat.stdin.write(key + (record.value or b"") + RECORD_END)
                kcat.stdin.flush()
        if kcat.returncode:
            sys.exit(kcat.returncode)
    print(count)


def consume(bootstrap, topic, group, session_ms=None):
    arguments = ["kcat", "-b", bootstrap, "-X", "auto.offset.reset=earliest"]
    arguments += ["-X", f"session.timeout.ms={session_ms}"] if session_ms else []
    arguments += ["-u", "-f", r"%p %o %T %K %S %h\n%k%s\n", "-G", group, topic]
    kcat = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    signal.signal(signal.SIGTERM, lambda *_: kcat.terminate())
    for head in iter(kcat.stdout.readline, b""):
        *numbers, headers = head.rstrip(b"\n").split(b" ", 5)
        partition, offset, time, key_length, value_length = map(int, numbers)
        key, value = read(kcat.stdout, key_length), read(kcat.stdout, value_length)
        kcat.stdout.read(1)
        sys.stdout.write(consume_line(partition, offset, time, key, value, parse(headers)))
        sys.stdout.flush()
    sys.exit(kcat.wait())


def read(stream, length):
    return None if length < 0 else stream.read(length)


def parse(text):
    pairs = (pair.split(b"=", 1) for pair in text.split(b",") if pair)
    return [(name.decode(), None if value == b"NULL" else value) for name, value in pairs]


main()
