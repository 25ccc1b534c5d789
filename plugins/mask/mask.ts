// A transformer that hides what stands in some fields of JSON, at any depth: "***" takes its place,
// with its last few characters if they are wanted. A null stays. Everything else stays as it is,
// byte for byte.
//
// Config: `fields`, their names, separated by commas; `keep`, how many characters at the end of a
// text or number stay, 0 to 9, default 0. Nothing stays of one that is not at least twice as long.

import { Message, badMessage, config, encode, failed } from "./gen/millstream";

const QUOTE: u8 = 0x22;
const BACKSLASH: u8 = 0x5c;
const MASK = encode('"***');

// Read at the first record: they do not change as long as the instance lives.
let fields: Uint8Array[] = [];
let keep: i32 = -1;

export function transform(message: Message): Message[] {
  if (keep < 0 && !readConfig()) return [];
  const value = message.value;
  if (value === null) return [message];
  const masked = new Masked(value);
  if (!masked.run()) {
    badMessage("the value is not JSON: a string, a list or an object has no end");
    return [];
  }
  message.value = masked.text();
  return [message];
}

function readConfig(): bool {
  const names = config("fields");
  const digit = config("keep");
  if (names === null || names.trim().length == 0) {
    failed("config `fields` is missing: give names of fields, separated by commas");
    return false;
  }
  if (digit !== null && (digit.length != 1 || digit.charCodeAt(0) - 0x30 > 9)) {
    failed("config `keep` is not a digit from 0 to 9");
    return false;
  }
  fields = names.split(",").map<Uint8Array>((name) => encode(name.trim()));
  keep = digit === null ? 0 : digit.charCodeAt(0) - 0x30;
  return true;
}

/** The text as it is copied, part by part. */
class Masked {
  private out: Uint8Array;
  private length: i32 = 0;
  private at: i32 = 0;

  constructor(private input: Uint8Array) {
    this.out = new Uint8Array(input.length + 64);
  }

  /** Goes from string to string; one before a colon is the name of a field. */
  run(): bool {
    const input = this.input;
    let copied = 0;
    while (this.at < input.length) {
      if (input[this.at] != QUOTE) {
        this.at++;
        continue;
      }
      const name = this.at + 1;
      if (!this.skipString()) return false;
      const nameEnd = this.at - 1;
      this.skipSpace();
      if (this.at >= input.length || input[this.at] != 0x3a) continue;
      this.at++;
      if (!this.isMasked(name, nameEnd)) continue;
      this.skipSpace();
      const value = this.at;
      if (!this.skipValue()) return false;
      if (input[value] == 0x6e) continue;
      this.append(input, copied, value);
      this.mask(value, this.at);
      copied = this.at;
    }
    this.append(input, copied, input.length);
    return true;
  }

  text(): Uint8Array {
    return this.out.slice(0, this.length);
  }

  private isMasked(from: i32, to: i32): bool {
    for (let i = 0; i < fields.length; i++) {
      const field = fields[i];
      if (field.length != to - from) continue;
      if (memory.compare(field.dataStart, this.input.dataStart + from, field.length) == 0) {
        return true;
      }
    }
    return false;
  }

  /** What is kept is the end of a text or number, unless an escape would be cut in two. */
  private mask(from: i32, to: i32): void {
    const input = this.input;
    const isText = input[from] == QUOTE;
    const begin = isText ? from + 1 : from;
    const end = isText ? to - 1 : to;
    let start = end;
    for (let kept = 0; kept < keep && start > begin; kept++) {
      // A character of UTF-8 goes on with bytes from 0x80 to 0xbf.
      do start--;
      while (start > begin && (input[start] & 0xc0) == 0x80);
    }
    let whole = (isText || input[from] <= 0x39) && start - begin >= end - start;
    for (let i = begin; i < end; i++) whole = whole && input[i] != BACKSLASH;
    this.append(MASK, 0, MASK.length);
    if (whole) this.append(input, start, end);
    this.append(MASK, 0, 1);
  }

  private append(bytes: Uint8Array, from: i32, to: i32): void {
    const length = to - from;
    if (this.length + length > this.out.length) {
      const grown = new Uint8Array(2 * (this.length + length));
      memory.copy(grown.dataStart, this.out.dataStart, this.length);
      this.out = grown;
    }
    memory.copy(this.out.dataStart + this.length, bytes.dataStart + from, length);
    this.length += length;
  }

  private skipSpace(): void {
    const input = this.input;
    while (this.at < input.length && input[this.at] <= 0x20) this.at++;
  }

  /** From the opening quote to behind the closing one. */
  private skipString(): bool {
    const input = this.input;
    for (this.at++; this.at < input.length; this.at++) {
      if (input[this.at] == BACKSLASH) this.at++;
      else if (input[this.at] == QUOTE) {
        this.at++;
        return true;
      }
    }
    return false;
  }

  private skipValue(): bool {
    const input = this.input;
    let depth = 0;
    while (this.at < input.length) {
      const byte = input[this.at];
      const opens = byte == 0x7b || byte == 0x5b;
      const closes = byte == 0x7d || byte == 0x5d;
      if (depth == 0 && (byte == 0x2c || closes || byte <= 0x20)) return true;
      if (byte == QUOTE) {
        if (!this.skipString()) return false;
      } else {
        this.at++;
      }
      if (opens) depth++;
      if (closes) depth--;
      if (depth == 0 && (closes || byte == QUOTE)) return true;
    }
    return depth == 0;
  }
}
