// A transformer that makes a JSON object of a line of logfmt: level=info msg="it works" took=12.5
//
// Numbers, true and false become those of JSON, a name without a value becomes true, everything else
// a text. Config: `texts = "yes"` makes all values texts.

#include "gen/millstream.h"

// Text that is made piece by piece. It is never longer than six times the line, with a few bytes
// more for each of its fields: that is what an escaped byte takes.
typedef struct {
    char *text;
    size_t len;
} output;

static void put(output *out, const char *bytes, size_t len) {
    memcpy(out->text + out->len, bytes, len);
    out->len += len;
}

static void put_escaped(output *out, const char *bytes, size_t len) {
    static const char hex[] = "0123456789abcdef";
    for (size_t at = 0; at < len; at++) {
        uint8_t byte = (uint8_t)bytes[at];
        if (byte == '"' || byte == '\\') {
            put(out, (const char[]){'\\', (char)byte}, 2);
        } else if (byte < 0x20) {
            put(out, (const char[]){'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]}, 6);
        } else {
            put(out, bytes + at, 1);
        }
    }
}

static size_t digits(const char *text, size_t len, size_t at) {
    while (at < len && text[at] >= '0' && text[at] <= '9') at++;
    return at;
}

// A number as JSON has them (RFC 8259, section 6).
static bool is_number(const char *text, size_t len) {
    size_t at = len > 0 && text[0] == '-';
    size_t begin = at;
    at = digits(text, len, at);
    if (at == begin || (text[begin] == '0' && at > begin + 1)) return false;
    if (at < len && text[at] == '.') {
        begin = at + 1;
        at = digits(text, len, begin);
        if (at == begin) return false;
    }
    if (at < len && (text[at] == 'e' || text[at] == 'E')) {
        at++;
        if (at < len && (text[at] == '+' || text[at] == '-')) at++;
        begin = at;
        at = digits(text, len, begin);
        if (at == begin) return false;
    }
    return at == len;
}

static bool is_bare(ms_bytes value) {
    return is_number(value.ptr, value.len) || ms_is(value, "true") || ms_is(value, "false");
}

// Reads from behind the opening quote to behind the closing one. False if there is none.
static bool put_quoted(output *out, ms_bytes line, size_t *at) {
    while (*at < line.len) {
        char c = line.ptr[(*at)++];
        if (c == '"') return true;
        if (c == '\\' && *at < line.len) {
            c = line.ptr[(*at)++];
            if (c == 'n') c = '\n';
            if (c == 't') c = '\t';
        }
        put_escaped(out, &c, 1);
    }
    return false;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static size_t word_end(ms_bytes line, size_t at, char end) {
    while (at < line.len && !is_space(line.ptr[at]) && line.ptr[at] != end) at++;
    return at;
}

// Reads one field. False if its quote does not end.
static bool put_field(output *out, ms_bytes line, size_t *at, bool texts) {
    size_t name = *at;
    *at = word_end(line, name, '=');
    put(out, out->len > 1 ? ",\"" : "\"", out->len > 1 ? 2 : 1);
    put_escaped(out, line.ptr + name, *at - name);
    put(out, "\":", 2);
    if (*at == line.len || line.ptr[*at] != '=') {
        put(out, texts ? "\"true\"" : "true", texts ? 6 : 4);
        return true;
    }
    (*at)++;
    if (*at < line.len && line.ptr[*at] == '"') {
        (*at)++;
        put(out, "\"", 1);
        bool ends = put_quoted(out, line, at);
        put(out, "\"", 1);
        return ends;
    }
    size_t end = word_end(line, *at, ' ');
    ms_bytes value = {line.ptr + *at, end - *at};
    *at = end;
    bool bare = !texts && is_bare(value);
    if (!bare) put(out, "\"", 1);
    put_escaped(out, value.ptr, value.len);
    if (!bare) put(out, "\"", 1);
    return true;
}

void plugin_transform(const ms_message *message) {
    ms_bytes line = message->value;
    if (!line.ptr) {
        ms_bad_message("the record has no value");
        return;
    }
    bool texts = ms_is(ms_config("texts"), "yes");
    // Each field has at least one byte and a space behind it, and gets up to ten bytes more.
    output out = {ms_alloc(12 * line.len + 16), 0};
    put(&out, "{", 1);
    for (size_t at = 0; at < line.len;) {
        if (is_space(line.ptr[at])) {
            at++;
        } else if (line.ptr[at] == '=') {
            ms_bad_message("a value has no name before its `=`");
            return;
        } else if (!put_field(&out, line, &at, texts)) {
            ms_bad_message("a quoted value has no end");
            return;
        }
    }
    if (out.len == 1) {
        ms_bad_message("the line is empty");
        return;
    }
    put(&out, "}", 1);
    ms_message made = *message;
    made.value.ptr = out.text;
    made.value.len = out.len;
    ms_emit(&made);
}
