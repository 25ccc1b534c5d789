// NAME: keeps the records whose value contains the text that the step's configuration names.

#include "gen/millstream.h"

bool plugin_keep(const ms_message *message) {
    ms_bytes contains = ms_config("contains");
    if (!contains.len) {
        ms_failed("config `contains` is missing");
        return false;
    }
    ms_bytes value = message->value;
    for (size_t at = 0; at + contains.len <= value.len; at++) {
        if (memcmp(value.ptr + at, contains.ptr, contains.len) == 0) return true;
    }
    return false;
}
