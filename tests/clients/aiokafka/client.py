"""aiokafka behind the command line that every client here has; see ../README.md."""

import asyncio
import signal
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from lines import consume_line, parse_produce


async def main():
    command, bootstrap, topic, *rest = sys.argv[1:]
    if command == "produce":
        await produce(bootstrap, topic, *rest)
    elif command == "consume":
        await consume(bootstrap, topic, *rest)
    else:
        sys.exit(f"unknown command {command}")


async def produce(bootstrap, topic, codec=None):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=codec)
    await producer.start()
    sent = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        record = parse_produce(line)
        acknowledgement = await producer.send(
            topic,
            record.value,
            record.key,
            timestamp_ms=record.timestamp_ms,
            headers=list(record.headers),
        )
        sent.append(acknowledgement)
    await asyncio.gather(*sent)
    await producer.stop()
    print(len(sent))


async def consume(bootstrap, topic, group, session_ms=None):
    session = {"session_timeout_ms": int(session_ms)} if session_ms else {}
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        **session,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await consumer.start()
    while not stop.is_set():
        for records in (await consumer.getmany(timeout_ms=200)).values():
            for r in records:
                place = r.partition, r.offset
                sys.stdout.write(consume_line(*place, r.timestamp, r.key, r.value, r.headers))
        sys.stdout.flush()  # nothing else runs in between, so what is committed was printed
    await consumer.stop()


asyncio.run(main())
