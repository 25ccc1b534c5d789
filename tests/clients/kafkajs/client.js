// kafkajs behind the command line that every client here has; see ../README.md.
'use strict';

const readline = require('node:readline');
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require('kafkajs');
const lz4 = require('lz4-napi');
const snappy = require('kafkajs-snappy');
const zstd = require('@bokuweb/zstd-wasm');

// kafkajs brings gzip; the other codecs are plugged in, as its documentation says.
CompressionCodecs[CompressionTypes.Snappy] = snappy;
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: async (buffer) => lz4.decompressFrame(buffer),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
});
const types = {
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};

const bytes = (text) => (text === '-' ? null : Buffer.from(text, 'base64'));
const text = (data) => (data == null ? '-' : Buffer.from(data).toString('base64'));

function parse(line) {
  const [time, key, value, pairs] = line.split('\t');
  const headers = {};
  for (const pair of pairs === '' ? [] : pairs.split(',')) {
    const [name, data] = pair.split(':');
    (headers[bytes(name).toString()] ??= []).push(bytes(data));
  }
  const timestamp = time === '-' ? undefined : time;
  return { key: bytes(key), value: bytes(value), headers, timestamp };
}

function format(partition, { offset, timestamp, key, value, headers }) {
  const pairs = Object.entries(headers ?? {}).flatMap(([name, data]) =>
    (Array.isArray(data) ? data : [data]).map((one) => `${text(name)}:${text(one)}`));
  const fields = [partition, offset, timestamp, text(key), text(value), pairs.join(',')];
  return `${fields.join('\t')}\n`;
}

async function produce(kafka, topic, codec) {
  const producer = kafka.producer();
  await producer.connect();
  const waiting = [];
  let ended = false;
  let wake = () => {};
  const input = readline.createInterface({ input: process.stdin });
  input.on('line', (line) => { waiting.push(parse(line)); wake(); });
  input.on('close', () => { ended = true; wake(); });
  let acknowledged = 0;
  while (!ended || waiting.length > 0) {
    if (waiting.length === 0) {
      await new Promise((resolve) => { wake = resolve; });
      continue;
    }
    const messages = waiting.splice(0, 500);
    await producer.send({ topic, messages, ...(codec && { compression: types[codec] }) });
    acknowledged += messages.length;
  }
  await producer.disconnect();
  console.log(acknowledged);
}

async function consume(kafka, topic, groupId, sessionMs) {
  const session = sessionMs && { sessionTimeout: Number(sessionMs) };
  const consumer = kafka.consumer({ groupId, ...session });
  process.on('SIGTERM', () => consumer.disconnect().then(() => process.exit(0)));
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      process.stdout.write(format(partition, message));
    },
  });
}

async function main([command, bootstrap, topic, ...rest]) {
  const kafka = new Kafka({ brokers: bootstrap.split(','), logLevel: logLevel.WARN });
  if (command === 'produce') {
    await zstd.init();
    await produce(kafka, topic, ...rest);
  } else if (command === 'consume') {
    await zstd.init();
    await consume(kafka, topic, ...rest);
  } else {
    throw new Error(`unknown command ${command}`);
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
