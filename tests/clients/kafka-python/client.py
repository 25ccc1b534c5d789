"""kafka-python behind the command line that every client here has; see ../README.md."""

import signal
import sys

from kafka import KafkaConsumer, KafkaProducer

from lines import consume_line, parse_produce


def main():
    command, bootstrap, topic, *rest = sys.argv[1:]
    if command == "produce":
        produce(bootstrap, topic, *rest)
    elif command == "consume":
        consume(bootstrap, topic, *rest)
    else:
        sys.exit(f"unknown command {command}")


def produce(bootstrap, topic, codec=None):
    compression = {"compression_type": codec} if codec else {}
    producer = KafkaProducer(bootstrap_servers=bootstrap, **compression)
    sent = []
    for line in sys.stdin:
        record = parse_produce(line)
        sent.append(
            producer.send(
                topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                timestamp_ms=record.timestamp_ms,
            )
        )
    for acknowledgement in sent:
        acknowledgement.get(timeout=60)
    producer.close()
    print(len(sent))


def consume(bootstrap, topic, group, session_ms=None):
    session = {"session_timeout_ms": int(session_ms)} if session_ms else {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        **session,
    )
    try:
        while True:
            # Long: 3.0.12 loses an assignment that arrives just as a poll runs out of time.
            for records in consumer.poll(timeout_ms=60_000).values():
                for r in records:
                    place = r.partition, r.offset
                    line = consume_line(*place, r.timestamp, r.key, r.value, r.headers)
                    sys.stdout.write(line)
            sys.stdout.flush()  # before the next poll, which may commit these
    finally:
        consumer.close()


main()

