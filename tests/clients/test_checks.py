"""The comparisons must be able to fail: python3 -m unittest discover tests/clients"""

import unittest
from dataclasses import replace

from checks import check_times, compare, mixed_records, numbered
from install import CLIENTS
from lines import Consumed, consume_line, parse_consume, parse_produce, produce_line
from process import Failed


def log_of(records, partitions=3):
    """The records as a broker would keep them: keyed to one partition, timestamp 7."""
    ends, log = [0] * partitions, []
    for record in records:
        partition = sum(record.key or b"") % partitions
        log.append(Consumed(partition, ends[partition], replace(record, timestamp_ms=7)))
        ends[partition] += 1
    return log


class Compare(unittest.TestCase):
    def setUp(self):
        self.sent = mixed_records(CLIENTS[0])
        self.got = log_of(self.sent)

    def refused(self, why):
        with self.assertRaisesRegex(Failed, why):
            compare(self.sent, self.got)

    def test_all_there(self):
        self.assertEqual(len(self.sent), 1000)
        compare(self.sent, self.got)

    def test_missing(self):
        del self.got[-1]
        self.refused("1 of 1000 missing")

    def test_twice(self):
        self.got.append(replace(self.got[-1], offset=self.got[-1].offset + 1))
        self.refused("came twice")

    def test_null_is_not_empty(self):
        at = next(i for i, r in enumerate(self.sent) if r.value is None)
        record = replace(self.got[at].record, value=b"")
        self.got[at] = replace(self.got[at], record=record)
        self.refused("never sent")

    def test_header_order(self):
        at = next(i for i, r in enumerate(self.sent) if len(r.headers) > 1)
        record = self.got[at].record
        record = replace(record, headers=record.headers[::-1])
        self.got[at] = replace(self.got[at], record=record)
        self.refused("never sent")

    def test_out_of_order(self):
        self.got[0], self.got[3] = self.got[3], self.got[0]  # both in partition 0
        self.refused("out of order")

    def test_key_in_two_partitions(self):
        self.got[1] = replace(self.got[1], partition=7, offset=0)
        self.refused("in two partitions")

    def test_gap_in_offsets(self):
        self.got = [replace(r, offset=r.offset + (r.offset > 5)) for r in self.got]
        self.refused("has no offset 6")

    def test_timestamp(self):
        sent = [replace(record, timestamp_ms=7) for record in self.sent]
        check_times(sent, self.got, now_ms=1_000_000)
        with self.assertRaisesRegex(Failed, "timestamp 7, sent 8"):
            check_times([replace(r, timestamp_ms=8) for r in sent], self.got, now_ms=1_000_000)
        with self.assertRaisesRegex(Failed, "not the time of sending"):
            check_times(self.sent, self.got, now_ms=1_000_000)


class Lines(unittest.TestCase):
    def test_there_and_back(self):
        for client in CLIENTS:
            for record in mixed_records(client) + numbered(0, 3):
                self.assertEqual(parse_produce(produce_line(record)), record)
                line = consume_line(2, 9, 5, record.key, record.value, record.headers)
                read = parse_consume(line)
                self.assertEqual(read, Consumed(2, 9, replace(record, timestamp_ms=5)))


if __name__ == "__main__":
    unittest.main()
