// NAME: makes the value's letters capitals.

#include "gen/millstream.h"

#include <algorithm>

static char capital(char letter) {
    return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A') : letter;
}

void plugin_transform(const ms_message *message) {
    ms_message out = *message;
    if (out.value.ptr) {
        char *value = static_cast<char *>(ms_alloc(out.value.len));
        std::transform(out.value.ptr, out.value.ptr + out.value.len, value, capital);
        out.value.ptr = value;
    }
    ms_emit(&out);
}
