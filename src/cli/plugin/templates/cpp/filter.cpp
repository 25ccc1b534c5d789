// NAME: keeps the records whose value contains the text that the step's configuration names.

#include "gen/millstream.h"

#include <string_view>

static std::string_view view(ms_bytes bytes) { return {bytes.ptr, bytes.len}; }

bool plugin_keep(const ms_message *message) {
    std::string_view contains = view(ms_config("contains"));
    if (contains.empty()) {
        ms_failed("config `contains` is missing");
        return false;
    }
    return view(message->value).find(contains) != std::string_view::npos;
}
