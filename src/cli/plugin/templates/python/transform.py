"""NAME: makes the value's letters capitals."""

from wit_world import exports
from wit_world.imports.types import Message


class Transformer(exports.Transformer):
    def transform(self, message: Message) -> list[Message]:
        if message.value is not None:
            message.value = message.value.upper()
        return [message]
