// A transformer that makes the field names of a JSON object unique: of a field that is there more
// than once the last value stays, at the place of the first. Parsers disagree about such objects,
// so that what one service checks is not what the next one sees.
//
// Only the outermost object is looked at. What its fields hold stays as it is, byte for byte.

#include "gen/millstream.h"

#include <string>
#include <string_view>
#include <vector>

namespace {

struct Field {
    std::string_view name; // with its quotes
    std::string_view value;
};

// Reads one object. It is not a parser: of a value only where it ends is looked for.
class Reader {
  public:
    explicit Reader(std::string_view text) : text(text) {}

    bool read(std::vector<Field> &fields) {
        if (!take('{')) return false;
        if (take('}')) return at_end();
        do {
            std::string_view name = token();
            if (name.size() < 2 || name.front() != '"' || !take(':')) return false;
            std::string_view value = token();
            if (value.empty()) return false;
            fields.push_back({name, value});
        } while (take(','));
        return take('}') && at_end();
    }

  private:
    std::string_view text;
    size_t at = 0;

    void skip_space() {
        while (at < text.size() && std::string_view(" \t\r\n").contains(text[at])) at++;
    }

    bool take(char c) {
        skip_space();
        if (at == text.size() || text[at] != c) return false;
        at++;
        return true;
    }

    bool at_end() {
        skip_space();
        return at == text.size();
    }

    // A string, or anything up to the comma, colon or bracket that ends it. Empty if there is none.
    std::string_view token() {
        skip_space();
        size_t start = at;
        size_t depth = 0;
        for (; at < text.size(); at++) {
            char c = text[at];
            if (c == '"') {
                if (!skip_string()) return {};
                if (depth == 0) return text.substr(start, ++at - start);
            } else if (c == '{' || c == '[') {
                depth++;
            } else if (depth > 0 && (c == '}' || c == ']')) {
                if (--depth == 0) return text.substr(start, ++at - start);
            } else if (depth == 0 && std::string_view(",:}] \t\r\n").contains(c)) {
                break;
            }
        }
        return depth == 0 ? text.substr(start, at - start) : std::string_view();
    }

    // From the opening quote to the closing one.
    bool skip_string() {
        for (at++; at < text.size(); at++) {
            if (text[at] == '"') return true;
            if (text[at] == '\\') at++;
        }
        return false;
    }
};

// Objects have a few fields: looking through them beats a table.
std::vector<Field> unique(const std::vector<Field> &fields) {
    std::vector<Field> kept;
    for (const Field &field : fields) {
        bool found = false;
        for (Field &earlier : kept) {
            if (earlier.name == field.name) {
                earlier.value = field.value;
                found = true;
                break;
            }
        }
        if (!found) kept.push_back(field);
    }
    return kept;
}

} // namespace

// The C++ library would print what went wrong; there is nothing to print to.
#include <__verbose_abort>
_LIBCPP_BEGIN_NAMESPACE_STD
[[noreturn]] void __libcpp_verbose_abort(const char *, ...) noexcept { __builtin_trap(); }
_LIBCPP_END_NAMESPACE_STD

void plugin_transform(const ms_message *message) {
    std::vector<Field> fields;
    std::string_view value(message->value.ptr, message->value.len);
    if (!message->value.ptr || !Reader(value).read(fields)) {
        ms_bad_message("the value is not a JSON object");
        return;
    }
    std::vector<Field> kept = unique(fields);
    if (kept.size() == fields.size()) {
        ms_emit(message);
        return;
    }
    std::string text = "{";
    for (const Field &field : kept) {
        if (text.size() > 1) text += ',';
        text.append(field.name).append(1, ':').append(field.value);
    }
    text += '}';
    ms_message out = *message;
    char *copy = static_cast<char *>(ms_alloc(text.size()));
    text.copy(copy, text.size());
    out.value = {copy, text.size()};
    ms_emit(&out);
}
