// A filter that keeps a share of the keys: all records of a key, or none. The same key gets the same
// answer in every topic, partition and run, so that samples of two topics fit together.
//
// Config: `percent`, how many of a hundred keys are kept, such as 12.5. A record without a key is
// judged by its value.

#include "gen/millstream.h"

// Finer than anyone asks for.
#define SHARES 1000000

// FNV-1a, and the finish of murmur3: FNV alone leaves keys that differ in their end close together.
static uint64_t hash(ms_bytes bytes) {
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t at = 0; at < bytes.len; at++) {
        hash = (hash ^ (uint8_t)bytes.ptr[at]) * 0x100000001b3;
    }
    hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53;
    return hash ^ (hash >> 33);
}

// A number from 0 to 100, with digits behind a point at will. False if it is none.
static bool parse_percent(ms_bytes text, uint64_t *shares) {
    uint64_t unit = SHARES / 100, sum = 0;
    bool point = false;
    if (text.len == 0 || text.len > 12) return false;
    for (size_t at = 0; at < text.len; at++) {
        char c = text.ptr[at];
        if (c == '.' && !point && at > 0 && at + 1 < text.len) {
            point = true;
        } else if (c < '0' || c > '9') {
            return false;
        } else if (point) {
            unit /= 10;
            sum += unit * (uint64_t)(c - '0');
        } else {
            sum = sum * 10 + unit * (uint64_t)(c - '0');
        }
    }
    *shares = sum;
    return sum <= SHARES;
}

bool plugin_keep(const ms_message *message) {
    // Read once: it does not change as long as the instance lives.
    static bool known;
    static uint64_t shares;
    if (!known) {
        known = parse_percent(ms_config("percent"), &shares);
        if (!known) {
            ms_failed("config `percent` is missing or no number from 0 to 100, such as 12.5");
            return false;
        }
    }
    ms_bytes judged = message->key.ptr ? message->key : message->value;
    return hash(judged) % SHARES < shares;
}
