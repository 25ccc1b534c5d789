// A transformer that removes personal data from text: what looks like an e-mail address, a payment
// card, an IP address or a phone number becomes "[email]", "[card]", "[ip]" or "[phone]". In JSON
// only what stands in strings is looked at, so that it stays JSON and numbers stay as they are.
//
// Config: `rules`, which of these, separated by commas; all four if it is not given.

import * as config from "millstream:plugin/config@0.1.0";
import type { Error } from "millstream:plugin/types@0.1.0";

import { decode, encode } from "./utf8";

interface Rule {
  pattern: RegExp;
  /** What looks like it and is not. */
  really?: (found: string) => boolean;
}

// In this order: a card's number would pass for a phone's.
const RULES: Record<string, Rule> = {
  email: { pattern: /[\w.+-]+@[\w-]+(?:\.[\w-]+)+/g },
  card: { pattern: /\b\d(?:[ -]?\d){12,18}\b/g, really: hasCheckDigit },
  ip: { pattern: /\b(?:\d{1,3}\.){3}\d{1,3}\b/g, really: isIp },
  phone: { pattern: /(?<![\w.])\+\d(?:[ ()/-]{0,2}\d){7,14}\b/g },
};

export const transformer: Transformer = {
  transform(message) {
    if (message.value == null) return [message];
    const text = decode(message.value);
    if (text === undefined) throw error("bad-message", "the value is not UTF-8");
    const redacted = /^\s*[{[]/.test(text)
      ? text.replace(/"(?:[^"\\]|\\.)*"/g, redact)
      : redact(text);
    return redacted === text ? [message] : [{ ...message, value: encode(redacted) }];
  },
};

function redact(text: string): string {
  for (const [name, { pattern, really }] of rules()) {
    text = text.replace(pattern, (found) => (really?.(found) ?? true ? `[${name}]` : found));
  }
  return text;
}

// Read at the first record, not when the module is loaded: it is loaded when it is built.
let chosen: [string, Rule][] | undefined;

function rules(): [string, Rule][] {
  if (chosen === undefined) {
    const names = config.get("rules")?.split(",").map((name) => name.trim());
    const unknown = names?.find((name) => !(name in RULES));
    if (unknown !== undefined) {
      const known = Object.keys(RULES).join(", ");
      throw error("failed", `config \`rules\` has ${JSON.stringify(unknown)}, there are ${known}`);
    }
    chosen = Object.entries(RULES).filter(([name]) => names?.includes(name) ?? true);
  }
  return chosen;
}

/** The digit that ends the number of a card (ISO/IEC 7812-1, Luhn). */
function hasCheckDigit(number: string): boolean {
  let sum = 0;
  const digits = [...number].filter((c) => c >= "0" && c <= "9").reverse();
  for (const [place, digit] of digits.entries()) {
    const value = Number(digit) * (place % 2 === 1 ? 2 : 1);
    sum += value > 9 ? value - 9 : value;
  }
  return sum % 10 === 0;
}

function isIp(address: string): boolean {
  return address.split(".").every((part) => Number(part) <= 255);
}

function error(tag: Error["tag"], val: string): Error {
  return { tag, val };
}
