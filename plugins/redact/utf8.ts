// The engine has no TextDecoder and no TextEncoder. `escape` and `unescape` see bytes in the lowest
// 256 characters, their partners see UTF-8.

/** The text of UTF-8, or undefined if it is none. */
export function decode(bytes: Uint8Array): string | undefined {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  }
  try {
    return decodeURIComponent(escape(text));
  } catch {
    return undefined;
  }
}

/** UTF-8 of the text. */
export function encode(text: string): Uint8Array {
  return Uint8Array.from(unescape(encodeURIComponent(text)), (byte) => byte.charCodeAt(0));
}
