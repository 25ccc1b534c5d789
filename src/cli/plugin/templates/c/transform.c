// NAME: makes the value's letters capitals.

#include "gen/millstream.h"

void plugin_transform(const ms_message *message) {
    ms_message out = *message;
    if (out.value.ptr) {
        char *value = ms_alloc(out.value.len);
        for (size_t at = 0; at < out.value.len; at++) {
            char letter = out.value.ptr[at];
            value[at] = letter >= 'a' && letter <= 'z' ? letter - 'a' + 'A' : letter;
        }
        out.value.ptr = value;
    }
    ms_emit(&out);
}
