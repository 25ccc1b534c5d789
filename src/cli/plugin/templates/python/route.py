"""NAME: sends JSON objects to the output `json` and everything else to `text`."""

from wit_world import exports
from wit_world.imports.types import Message


class Router(exports.Router):
    def route(self, message: Message) -> list[str]:
        return ["json" if (message.value or b"").startswith(b"{") else "text"]
