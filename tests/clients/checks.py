"""The checks: each a function of one client that returns, or raises Failed with the reason."""

import threading
import time
from itertools import count

import wire
from lines import Record
from process import Consumer, Failed, Process, Producer

CODECS = ("gzip", "snappy", "lz4", "zstd")
QUIET_SECONDS = 0.5
MIN_SESSION_MS = 6000


def roundtrip(check, client, program):
    """1,000 mixed records and a small batch of each codec, all back, from a new topic."""
    topic = check.name("topic")
    sent = mixed_records(client)
    produce(check, program, topic, sent)
    for codec in CODECS:
        batch = [Record(b"codec", f"{codec} {i} ".encode() * 20) for i in range(20)]
        produce(check, program, topic, batch, codec)
        sent += batch
    got = consume(check, program, topic, check.name("group"), sent)
    found = set()
    for partition in {record.partition for record in got}:
        found |= wire.codecs(check.bootstrap, topic, partition)
    if missing := set(CODECS) - found:
        raise Failed(f"no batch with {', '.join(sorted(missing))}: the client did not compress")


def restart(check, client, program):
    """A second consumer of the same group goes on where the first one committed."""
    topic, group = check.name("topic"), check.name("group")
    first, second = numbered(0, 300), numbered(300, 600)
    produce(check, program, topic, first)
    got = consume(check, program, topic, group, first)
    ends = next_offsets(got)
    committed = wire.committed(check.bootstrap, group, topic, list(ends))
    if committed != ends:
        raise Failed(f"read up to {ends}, the broker has committed {committed}")
    produce(check, program, topic, second)
    consume(check, program, topic, group, second)


def takeover(check, client, program):
    """Two consumers, one killed with SIGKILL under load: the other goes on with everything."""
    topic, group, partitions = check.name("topic"), check.name("group"), range(4)
    wire.create_topic(check.bootstrap, topic, len(partitions))
    feed = Feed(check.start(Producer, program, topic))
    killed = check.start(Consumer, program, topic, group, str(MIN_SESSION_MS))
    survivor = check.start(Consumer, program, topic, group, str(MIN_SESSION_MS))
    check.wait("the second consumer's records", lambda: len(survivor.records) >= 50)
    so_far = len(killed.records)
    check.wait("the first consumer's share", lambda: len(killed.records) >= so_far + 50)

    def owned():
        first, second = next_offsets(killed.records), next_offsets(survivor.records)
        return {p for p in first if first[p] > second.get(p, 0)}

    before = {}

    def committed():
        before.update(wire.committed(check.bootstrap, group, topic, partitions))
        return owned() & before.keys()

    check.wait("a committed offset of the first consumer", committed)
    killed.kill()
    lost, at_kill = owned(), len(survivor.records)
    sent_before = len(feed.sent)
    position = {record: index for index, record in enumerate(numbered(0, 100_000))}

    def new_partitions():
        new = survivor.records[at_kill:]
        return {r.partition for r in new if position.get(r.record.untimed(), -1) >= sent_before}

    check.wait("all partitions at the survivor", lambda: new_partitions() >= set(partitions))
    sent = feed.finish()
    seen = lambda: {r.record.untimed() for r in (*killed.records, *survivor.records)}
    try:
        check.wait(f"each of {len(sent)} records", lambda: len(seen()) >= len(sent))
    except Failed:
        compare(sent, without_repeats((*killed.records, *survivor.records)))
        raise
    survivor.stop()
    for record in survivor.records[at_kill:]:
        if record.partition in lost and record.offset < before.get(record.partition, 0):
            where = f"partition {record.partition} offset {record.offset}"
            raise Failed(f"{where} was committed ({before}) and came again")
    both = (*killed.records, *survivor.records)
    check_places(both)
    compare(sent, without_repeats(both))


def hello(check, client, program):
    """The first program in every Kafka book."""
    program = check.start(Process, program, "hello", check.bootstrap, check.name("group"))
    if (text := program.output().strip()) != "Hello, Kafka!":
        raise Failed(f"read {text!r}")


def admin(check, client, program):
    """A topic's life through AdminClient."""
    program = check.start(Process, program, "admin", check.bootstrap, check.name("topic"))
    if (text := program.output().strip()) != "done":
        raise Failed(f"printed {text!r}")


def cross(check, programs):
    """Each client's records, read alike by every client: client -> why it failed, or None."""
    topic, now_ms = check.name("topic"), time.time_ns() // 1_000_000
    outcome, sent = dict.fromkeys(programs), []
    for client, program in programs.items():
        records = cross_records(client, now_ms - 3_600_000)
        try:
            produce(check, program, topic, records)
            sent += records
        except Failed as error:
            outcome[client] = error
    readers = {
        client: check.start(Consumer, program, topic, check.name(client.name))
        for client, program in programs.items()
    }
    late = None
    try:
        enough = lambda: all(len(reader.records) >= len(sent) for reader in readers.values())
        check.wait("all readers", enough)
        time.sleep(QUIET_SECONDS)
    except Failed as error:
        late = error
    reference = None
    for client, reader in readers.items():
        try:
            if late and not reader.records:
                raise Failed(f"read nothing: {late}")
            got = sorted(reader.records, key=place)
            compare([record.untimed() for record in sent], got)
            check_times(sent, got, now_ms)
            reference = reference or (client.name, got)
            if got != reference[1]:
                one, other = next(p for p in zip(got, reference[1]) if p[0] != p[1])
                raise Failed(f"reads {one}, {reference[0]} reads {other}")
        except Failed as error:
            outcome[client] = outcome[client] or error
    return outcome


def mixed_records(client):
    """1,000 records, each unlike all others; runs of equal headers, as kcat wants them."""
    header_sets = [
        (("h", b"1"), ("h", b"2"), ("other", b"x")),
        (("größe", "naïve €".encode()), ("binary", b"\x01\xff\xfe\x80"), ("empty", b"")),
    ]
    if client.interleaved_headers:
        header_sets.append((("a", b"1"), ("b", b"2"), ("a", b"3")))
    if client.null_headers:
        header_sets.append((("null", None), ("next", b"1")))
    records = []
    for i in range(1000):
        key = None if i % 3 == 0 else f"key-{i % 17}".encode()
        value = f"value {i} ".encode() + bytes(range(0x80, 0x80 + i % 100))
        headers = ()
        if 400 <= i < 500:
            headers = header_sets[(i - 400) // 25 % len(header_sets)]
        elif 500 <= i < 510:
            key, value = f"null-{i}".encode(), None
        elif 510 <= i < 520:
            key, value = f"empty-{i}".encode(), b""
        elif 520 <= i < 525:
            key = b""
        elif i == 600:
            value = b"large " + b"0123456789" * 20_000
        records.append(Record(key, value, headers))
    return records


def cross_records(client, base_ms):
    name = client.name.encode()
    headers = (("h", b"1"), ("h", b"2"), ("binary", b"\xff\xfe"), ("empty", b""))
    headers += (("null", None),) if client.null_headers else ()
    plain = [
        Record(name + b"-keyed", "naïve €".encode()),
        Record(None, name + b" keyless"),
        Record(name + b"-headers", b"with headers", headers),
        Record(name + b"-null", None),
        Record(name + b"-empty", b""),
        Record(name + b"-binary", bytes(range(0x80, 0x100)) * 8),
    ]
    if not client.sets_timestamp:
        return plain
    return [Record(r.key, r.value, r.headers, base_ms + i) for i, r in enumerate(plain)]


def numbered(start, end):
    return [Record(f"key-{i % 32}".encode(), f"value {i}".encode()) for i in range(start, end)]


class Feed:
    """Writes numbered records to a producer from a thread, 200 a second."""

    def __init__(self, producer):
        self.producer, self.sent, self.broken = producer, [], None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        for i in count():
            if self.stop.wait(0.005):
                return
            (record,) = numbered(i, i + 1)
            try:
                self.producer.write(record)
            except OSError as error:
                self.broken = error
                return
            self.sent.append(record)

    def finish(self):
        self.stop.set()
        self.thread.join()
        if self.broken:
            raise Failed(f"the producer ended under load: {self.broken}")
        self.producer.finish(len(self.sent))
        return self.sent


def produce(check, program, topic, records, *codec):
    producer = check.start(Producer, program, topic, *codec)
    try:
        for record in records:
            producer.write(record)
    except BrokenPipeError:
        pass  # finish says why
    producer.finish(len(records))


def consume(check, program, topic, group, sent):
    """Reads until as many have come, waits whether more do, stops the consumer, compares."""
    consumer = check.start(Consumer, program, topic, group)
    try:
        check.wait(f"{len(sent)} records", lambda: len(consumer.records) >= len(sent))
    except Failed as error:
        if consumer.records:
            compare(sent, consumer.records)
        raise Failed(f"{error}; {len(consumer.records)} came") from error
    time.sleep(QUIET_SECONDS)
    consumer.stop()
    compare(sent, consumer.records)
    return consumer.records


def compare(sent, got):
    """The same records, each once, in the order sent within a partition, keys kept together."""
    index = {record: i for i, record in enumerate(sent)}
    if len(index) != len(sent):
        raise Failed("the check itself is wrong: two records alike")
    came, partition_of, last = set(), {}, {}
    for consumed in got:
        record, partition = consumed.record.untimed(), consumed.partition
        if record not in index:
            raise Failed(f"never sent: partition {partition} {consumed.offset} {record.brief()}")
        if index[record] in came:
            raise Failed(f"came twice: {record.brief()}")
        came.add(index[record])
        if index[record] < last.get(partition, -1):
            raise Failed(f"out of order in partition {partition}: {record.brief()}")
        last[partition] = index[record]
        if record.key and partition_of.setdefault(record.key, partition) != partition:
            raise Failed(f"key {record.key!r} in two partitions")
    if missing := [record for record in sent if index[record] not in came]:
        raise Failed(f"{len(missing)} of {len(sent)} missing, first {missing[0].brief()}")
    check_places(got)


def check_places(got):
    """Offsets name one record each, and leave no gap."""
    at = {}
    for consumed in got:
        if at.setdefault(place(consumed), consumed.record) != consumed.record:
            raise Failed(f"two records at partition, offset {place(consumed)}")
    for partition, end in next_offsets(got).items():
        if gaps := [offset for offset in range(end) if (partition, offset) not in at]:
            # A restarted group starts late; then all before its start are absent.
            if gaps != list(range(len(gaps))):
                raise Failed(f"partition {partition} has no offset {gaps[0]}")


def check_times(sent, got, now_ms):
    wanted = {record.untimed(): record.timestamp_ms for record in sent}
    for consumed in got:
        record, time_ms = consumed.record, wanted[consumed.record.untimed()]
        if time_ms is None and not now_ms - 1000 <= record.timestamp_ms <= now_ms + 600_000:
            raise Failed(f"timestamp {record.timestamp_ms} is not the time of sending")
        if time_ms is not None and time_ms != record.timestamp_ms:
            raise Failed(f"timestamp {record.timestamp_ms}, sent {time_ms}: {record.brief()}")


def place(consumed):
    return consumed.partition, consumed.offset


def without_repeats(got):
    """One record a place, in the order of the log; check_places knows whether they agree."""
    return sorted({place(record): record for record in got}.values(), key=place)


def next_offsets(got):
    ends = {}
    for consumed in got:
        ends[consumed.partition] = max(ends.get(consumed.partition, 0), consumed.offset + 1)
    return ends
