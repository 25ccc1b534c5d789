// NAME: sends JSON objects to the output `json` and everything else to `text`.

export const router = {
  route(message) {
    return [message.value?.[0] === 0x7b ? "json" : "text"];
  },
};
