// NAME: keeps the records whose value contains the text that the step's configuration names.

import { Message, config, decode, failed } from "./gen/millstream";

export function keep(message: Message): bool {
  const contains = config("contains");
  if (contains === null || contains.length == 0) {
    failed("config `contains` is missing");
    return false;
  }
  const value = message.value;
  return value !== null && decode(value).includes(contains);
}
