"""NAME: keeps the records whose value contains the text that the step's configuration names."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import config
from wit_world.imports.types import Error_Failed, Message


class Filter(exports.Filter):
    def keep(self, message: Message) -> bool:
        contains = config.get("contains")
        if not contains:
            raise Err(Error_Failed("config `contains` is missing"))
        return contains.encode() in (message.value or b"")
