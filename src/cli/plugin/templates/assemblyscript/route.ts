// NAME: sends JSON objects to the output `json` and everything else to `text`.

import { Message } from "./gen/millstream";

export function route(message: Message): string[] {
  const value = message.value;
  return [value !== null && value.length > 0 && value[0] == 0x7b ? "json" : "text"];
}
