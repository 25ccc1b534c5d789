"""A filter that checks records against a JSON schema (drafts 4, 6 and 7).

A record that does not fit is a bad message, so that the step's `on-error` decides what becomes of
it, and a dead letter says what is wrong with it.

Config: `schema`, the schema as JSON; `invalid = "drop"` drops what does not fit without a word.
"""

import json
from functools import cache
from typing import Callable

import fastjsonschema
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import config
from wit_world.imports.types import Error_BadMessage, Error_Failed, Message


@cache
def validator() -> Callable[[object], object]:
    """Made of the schema at the first record."""
    text = config.get("schema")
    if text is None:
        raise Err(Error_Failed("config `schema` is missing: give a JSON schema"))
    try:
        return fastjsonschema.compile(json.loads(text), use_default=False)
    except (ValueError, fastjsonschema.JsonSchemaDefinitionException) as error:
        raise Err(Error_Failed(f"config `schema` is no JSON schema: {error}")) from error


class Filter(exports.Filter):
    def keep(self, message: Message) -> bool:
        check = validator()
        try:
            check(json.loads(message.value or b""))
            return True
        except fastjsonschema.JsonSchemaValueException as error:
            problem = error.message
        except (ValueError, RecursionError) as error:
            problem = f"the value is not JSON: {error}"
        if config.get("invalid") == "drop":
            return False
        raise Err(Error_BadMessage(problem))
