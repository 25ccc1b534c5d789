// The contract between Millstream and a plugin (`wit/` of Millstream) for AssemblyScript. Written
// by `millstream plugin build`.
//
// A filter exports `keep`, a transformer `transform`, a router `route`. There are no exceptions:
// `badMessage` and `failed` are called, and whatever is returned then counts for nothing.

/** One header of a message. A null value is Kafka's. */
export class Header {
  constructor(
    public name: string,
    public value: Uint8Array | null,
  ) {}
}

/** One record. A null key or value is Kafka's, which is not the same as one of no bytes. */
export class Message {
  constructor(
    public key: Uint8Array | null,
    public value: Uint8Array | null,
    public headers: Header[],
    public timestampMs: i64,
    /** Where it is to be written; -1: by the key. */
    public partition: i64 = -1,
  ) {}
}

export enum Level {
  Debug,
  Info,
  Warn,
  Error,
}

/** The value of the step's configuration, or null. */
export function config(name: string): string | null {
  const text = encode(name);
  getConfig(text.dataStart, text.length, OPTION);
  const value = liftOption(load<u8>(OPTION), load<u32>(OPTION, 4), load<u32>(OPTION, 8));
  return value === null ? null : decode(value);
}

/** The pipeline that the plugin is part of. */
export function pipeline(): string {
  getPipeline(OPTION);
  return contextText();
}

/** The step's number and its plugin's name, as in "2-flatten". */
export function step(): string {
  getStep(OPTION);
  return contextText();
}

/** The source topic. */
export function topic(): string {
  getTopic(OPTION);
  return contextText();
}

/** The partition of the source topic. */
export function partition(): u32 {
  return getPartition();
}

/** The offset of the record in the partition. */
export function offset(): i64 {
  return getOffset();
}

function contextText(): string {
  return String.UTF8.decodeUnsafe(load<u32>(OPTION), load<u32>(OPTION, 4));
}

/** A line in the broker's log. */
export function log(level: Level, line: string): void {
  const text = encode(line);
  writeLog(level, text.dataStart, text.length);
}

/** The record fails: the message is at fault. */
export function badMessage(text: string): void {
  fail(0, text);
}

/** The record fails: the plugin is at fault, or its configuration. */
export function failed(text: string): void {
  fail(1, text);
}

/** The text of UTF-8. */
export function decode(bytes: Uint8Array): string {
  return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length);
}

/** UTF-8 of the text. */
export function encode(text: string): Uint8Array {
  return Uint8Array.wrap(String.UTF8.encode(text));
}

// From here on: how it is done. Lists that the host reads are made with `allocate`, which also
// serves the host; all of it is freed when the host has read the result.

// @ts-ignore: a decorator of AssemblyScript
@external("millstream:plugin/config@0.1.0", "get")
declare function getConfig(name: usize, length: usize, result: usize): void;
// @ts-ignore: a decorator of AssemblyScript
@external("millstream:plugin/context@0.1.0", "pipeline")
declare function getPipeline(result: usize): void;
// @ts-ignore: a decorator of AssemblyScript
@external("millstream:plugin/context@0.1.0", "step")
declare function getStep(result: usize): void;
// @ts-ignore: a decorator of AssemblyScript
@external("millstream:plugin/context@0.1.0", "topic")
declare function getTopic(result: usize): void;
// @ts-ignore: a decorator of AssemblyScript
@external("millstream:plugin/context@0.1.0", "partition")
declare function getPartition(): u32;
// @ts-ignore: a decorator of AssemblyScript
@external("millstream:plugin/context@0.1.0", "offset")
declare function getOffset(): i64;
// @ts-ignore: a decorator of AssemblyScript
@external("millstream:plugin/logging@0.1.0", "log")
declare function writeLog(level: u32, text: usize, length: usize): void;

const OPTION: usize = memory.data(12, 8);
const RESULT: usize = memory.data(16, 8);
const allocated: usize[] = [];
// What the result points to must not be collected before the host has read it.
const held: Uint8Array[] = [];

function allocate(length: usize): usize {
  const place = heap.alloc(length);
  allocated.push(place);
  return place;
}

export function cabi_realloc(old: usize, oldLength: usize, align: usize, length: usize): usize {
  if (length == 0) return align;
  const place = allocate(length);
  if (oldLength > 0) memory.copy(place, old, min(oldLength, length));
  return place;
}

export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  if (message !== null) log(Level.Error, message);
  unreachable();
}

export function begin(): void {
  store<u8>(RESULT, 0);
}

/** Frees what the call had. The stack is empty then, so that objects can be collected, too. */
export function done(result: usize): void {
  for (let i = 0; i < allocated.length; i++) heap.free(allocated[i]);
  allocated.length = 0;
  held.length = 0;
  __collect();
}

function fail(which: u8, text: string): void {
  if (load<u8>(RESULT) != 0) return;
  store<u8>(RESULT, 1);
  store<u8>(RESULT, which, 4);
  lowerBytes(encode(text), RESULT + 8);
}

export function keeps(keep: bool): usize {
  if (load<u8>(RESULT) == 0) store<u8>(RESULT, keep ? 1 : 0, 4);
  return RESULT;
}

export function emits(messages: Message[]): usize {
  if (load<u8>(RESULT) != 0) return RESULT;
  const list = makeList(messages.length, 48);
  for (let i = 0; i < messages.length; i++) lowerMessage(messages[i], list + i * 48);
  return RESULT;
}

export function routes(names: string[]): usize {
  if (load<u8>(RESULT) != 0) return RESULT;
  const list = makeList(names.length, 8);
  for (let i = 0; i < names.length; i++) lowerBytes(encode(names[i]), list + i * 8);
  return RESULT;
}

function makeList(count: usize, size: usize): usize {
  const list: usize = count == 0 ? 8 : allocate(count * size);
  store<u32>(RESULT, list, 4);
  store<u32>(RESULT, count, 8);
  return list;
}

function lowerBytes(bytes: Uint8Array, place: usize): void {
  held.push(bytes);
  store<u32>(place, bytes.dataStart);
  store<u32>(place, bytes.length, 4);
}

function lowerOption(bytes: Uint8Array | null, place: usize): void {
  store<u8>(place, bytes === null ? 0 : 1);
  if (bytes !== null) lowerBytes(bytes, place + 4);
}

function lowerMessage(message: Message, place: usize): void {
  lowerOption(message.key, place);
  lowerOption(message.value, place + 12);
  const headers = message.headers;
  const list: usize = headers.length == 0 ? 4 : allocate(headers.length * 20);
  for (let i = 0; i < headers.length; i++) {
    lowerBytes(encode(headers[i].name), list + i * 20);
    lowerOption(headers[i].value, list + i * 20 + 8);
  }
  store<u32>(place, list, 24);
  store<u32>(place, headers.length, 28);
  store<i64>(place, message.timestampMs, 32);
  store<u8>(place, message.partition < 0 ? 0 : 1, 40);
  store<u32>(place, <u32>message.partition, 44);
}

function liftBytes(place: usize, length: usize): Uint8Array {
  const bytes = new Uint8Array(<i32>length);
  memory.copy(bytes.dataStart, place, length);
  return bytes;
}

function liftOption(some: u32, place: usize, length: usize): Uint8Array | null {
  return some == 0 ? null : liftBytes(place, length);
}

export function lift(
  hasKey: u32,
  key: usize,
  keyLength: usize,
  hasValue: u32,
  value: usize,
  valueLength: usize,
  list: usize,
  count: usize,
  timestampMs: i64,
  hasPartition: u32,
  partition: u32,
): Message {
  const headers = new Array<Header>(0);
  for (let at = list; at < list + count * 20; at += 20) {
    const name = String.UTF8.decodeUnsafe(load<u32>(at), load<u32>(at, 4));
    headers.push(
      new Header(name, liftOption(load<u8>(at, 8), load<u32>(at, 12), load<u32>(at, 16))),
    );
  }
  return new Message(
    liftOption(hasKey, key, keyLength),
    liftOption(hasValue, value, valueLength),
    headers,
    timestampMs,
    hasPartition == 0 ? -1 : <i64>partition,
  );
}
