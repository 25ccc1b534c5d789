"""The four requests that the runner makes itself, to look at the broker past the clients.

Old, fixed-width versions that every Kafka 4 broker still serves; one connection a call.
"""

import socket
import struct

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class WireError(Exception):
    """The broker refused, or answered what cannot be read."""


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        if self.at > len(self.data):
            raise WireError("the response is cut short")
        return self.data[self.at - count : self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(">" + form)))[0]

    def string(self):
        length = self.number("h")
        return None if length < 0 else self.take(length).decode()

    def array(self, item):
        return [item(self) for _ in range(max(self.number("i"), 0))]


def _string(text):
    return struct.pack(">h", len(text)) + text.encode()


def _call(bootstrap, api_key, version, body):
    host, port = bootstrap.split(",")[0].rsplit(":", 1)
    header = struct.pack(">hhi", api_key, version, 1) + _string("client-checks")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(header + body)) + header + body)
        stream = connection.makefile("rb")
        size = _Reader(stream.read(4)).number("i")
        reader = _Reader(stream.read(size))
    if reader.number("i") != 1:
        raise WireError("a response to another request")
    return reader


def _must_succeed(what, code):
    if code:
        raise WireError(f"{what}: error code {code}")


def create_topic(bootstrap, topic, partitions):
    """CreateTopics 2: replication factor 1, broker's configuration."""
    body = struct.pack(">i", 1) + _string(topic)
    body += struct.pack(">ihii", partitions, 1, 0, 0) + struct.pack(">ib", 10_000, 0)
    reader = _call(bootstrap, 19, 2, body)
    reader.number("i")
    for name, code, message in reader.array(lambda r: (r.string(), r.number("h"), r.string())):
        _must_succeed(f"create {name}: {message}", code)


def committed(bootstrap, group, topic, partitions):
    """OffsetFetch 1: partition -> committed offset, of those that have one."""
    body = _string(group) + struct.pack(">i", 1) + _string(topic)
    body += struct.pack(">i", len(partitions))
    body += b"".join(struct.pack(">i", partition) for partition in partitions)
    reader = _call(bootstrap, 9, 1, body)

    def partition(r):
        index, offset, _metadata, code = r.number("i"), r.number("q"), r.string(), r.number("h")
        _must_succeed(f"committed offset of {group} {topic}-{index}", code)
        return index, offset

    topics = reader.array(lambda r: (r.string(), r.array(partition)))
    return {index: offset for _, found in topics for index, offset in found if offset >= 0}


def codecs(bootstrap, topic, partition):
    """Fetch 4 from offset 0: the compression of each batch, up to 8 MiB of them."""
    limit = 8 << 20
    body = struct.pack(">iiiib", -1, 500, 1, limit, 0) + struct.pack(">i", 1) + _string(topic)
    body += struct.pack(">iiqi", 1, partition, 0, limit)
    reader = _call(bootstrap, 1, 4, body)
    reader.number("i")

    def fetched(r):
        index, code, _high_watermark, _stable = (r.number(form) for form in "ihqq")
        _must_succeed(f"fetch {topic}-{index}", code)
        r.array(lambda aborted: aborted.take(16))
        return r.take(max(r.number("i"), 0))

    found = set()
    for _, partitions in reader.array(lambda r: (r.string(), r.array(fetched))):
        for records in partitions:
            at = 0
            while at + 23 <= len(records):
                found.add(CODECS[struct.unpack_from(">h", records, at + 21)[0] & 7])
                at += 12 + struct.unpack_from(">i", records, at + 8)[0]
    return found
