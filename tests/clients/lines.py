"""One record as one line of text: what the runner and every client program exchange.

produce reads   timestamp TAB key TAB value TAB headers
consume prints  partition TAB offset TAB timestamp TAB key TAB value TAB headers

Bytes are base64, so an empty field is empty bytes and "-" is null (or, for the timestamp,
"the client's default"). Headers are name:value pairs joined by commas, in order.
"""

import base64
from dataclasses import dataclass, replace

NULL = "-"


@dataclass(frozen=True)
class Record:
    """What a producer is given: the part of a record that must come back unchanged."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_ms: int | None = None

    def untimed(self):
        return replace(self, timestamp_ms=None)

    def brief(self):
        value = None if self.value is None else self.value[:40]
        return f"key={self.key!r} value={value!r} headers={self.headers!r}"


@dataclass(frozen=True)
class Consumed:
    """A record with its place in the log."""

    partition: int
    offset: int
    record: Record


def field(data):
    return NULL if data is None else base64.b64encode(data).decode()


def unfield(text):
    return None if text == NULL else base64.b64decode(text, validate=True)


def headers_field(headers):
    return ",".join(f"{field(name.encode())}:{field(value)}" for name, value in headers)


def _headers(text):
    pairs = (pair.split(":") for pair in text.split(",") if pair)
    return tuple((unfield(name).decode(), unfield(value)) for name, value in pairs)


def produce_line(record):
    time = NULL if record.timestamp_ms is None else str(record.timestamp_ms)
    fields = [time, field(record.key), field(record.value), headers_field(record.headers)]
    return "\t".join(fields) + "\n"


def parse_produce(line):
    time, key, value, headers = line.rstrip("\n").split("\t")
    timestamp_ms = None if time == NULL else int(time)
    return Record(unfield(key), unfield(value), _headers(headers), timestamp_ms)


def consume_line(partition, offset, timestamp_ms, key, value, headers):
    place = [str(partition), str(offset), str(timestamp_ms)]
    return "\t".join(place + [field(key), field(value), headers_field(headers)]) + "\n"


def parse_consume(line):
    partition, offset, rest = line.split("\t", 2)
    return Consumed(int(partition), int(offset), parse_produce(rest))
