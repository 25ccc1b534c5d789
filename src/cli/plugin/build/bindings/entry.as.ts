// What the host calls. Written by `millstream plugin build`.

import { begin, lift, RESULTS } from "./millstream";
import { FUNCTION } from "../SOURCE";

export { abort, cabi_realloc, done } from "./millstream";

export function call(
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
): usize {
  begin();
  return RESULTS(
    FUNCTION(
      lift(
        hasKey,
        key,
        keyLength,
        hasValue,
        value,
        valueLength,
        list,
        count,
        timestampMs,
        hasPartition,
        partition,
      ),
    ),
  );
}
