// NAME: makes the value's letters capitals.

export const transformer = {
  transform(message) {
    const value = message.value;
    for (let at = 0; at < (value?.length ?? 0); at++) {
      if (value[at] >= 0x61 && value[at] <= 0x7a) value[at] -= 0x20;
    }
    return [message];
  },
};
