// NAME: keeps the records whose value contains the text that the step's configuration names.

import * as config from "millstream:plugin/config@0.1.0";

export const filter = {
  keep(message) {
    const contains = config.get("contains");
    if (!contains) throw { tag: "failed", val: "config `contains` is missing" };
    return message.value != null && decode(message.value).includes(contains);
  },
};

// The engine has no TextDecoder. `escape` sees bytes in the lowest 256 characters,
// `decodeURIComponent` sees UTF-8.
function decode(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + 4096));
  }
  try {
    return decodeURIComponent(escape(text));
  } catch {
    throw { tag: "bad-message", val: "the value is not UTF-8" };
  }
}
