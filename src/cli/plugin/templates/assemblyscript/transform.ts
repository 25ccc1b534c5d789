// NAME: makes the value's letters capitals.

import { Message } from "./gen/millstream";

export function transform(message: Message): Message[] {
  const value = message.value;
  if (value !== null) {
    for (let at = 0; at < value.length; at++) {
      const letter = value[at];
      if (letter >= 0x61 && letter <= 0x7a) value[at] = letter - 0x20;
    }
  }
  return [message];
}
