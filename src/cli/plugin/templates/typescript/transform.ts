// NAME: makes the value's letters capitals.

export const transformer: Transformer = {
  transform(message) {
    const value = message.value?.map((byte) => (byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte));
    return [{ ...message, value }];
  },
};
