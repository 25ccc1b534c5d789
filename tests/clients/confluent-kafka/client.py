"""confluent-kafka behind the command line that every client here has; see ../README.md."""

import signal
import sys

from confluent_kafka import Consumer, KafkaException, Producer

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
    settings = {"bootstrap.servers": bootstrap}
    if codec:
        settings["compression.type"] = codec
    producer = Producer(settings)
    acknowledged = 0

    def delivered(error, _message):
        nonlocal acknowledged
        if error:
            print(f"not delivered: {error}", file=sys.stderr)
        else:
            acknowledged += 1

    for line in sys.stdin:
        record = parse_produce(line)
        timed = {} if record.timestamp_ms is None else {"timestamp": record.timestamp_ms}
        headers = list(record.headers)
        producer.produce(
            topic, record.value, record.key, headers=headers, on_delivery=delivered, **timed
        )
        producer.poll(0)
    producer.flush()
    print(acknowledged)


def consume(bootstrap, topic, group, session_ms=None):
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
    }
    if session_ms:
        settings["session.timeout.ms"] = int(session_ms)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    while not stop:
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        _type, time = message.timestamp()
        headers = message.headers() or []
        place = message.partition(), message.offset()
        sys.stdout.write(consume_line(*place, time, message.key(), message.value(), headers))
        sys.stdout.flush()
    consumer.close()


main()
