// NAME: sends JSON objects to the output `json` and everything else to `text`.

#include "gen/millstream.h"

void plugin_route(const ms_message *message) {
    ms_output(message->value.len && message->value.ptr[0] == '{' ? "json" : "text");
}
