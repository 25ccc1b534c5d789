// The contract between Millstream and a plugin (`wit/` of Millstream) for C and C++. Written by
// `millstream plugin build`; to be included in one source file.
//
// A filter defines `plugin_keep`, a transformer `plugin_transform`, a router `plugin_route`.
//
// What belongs to one call (the message, what the functions here return, what `ms_alloc` gives)
// lives as long as the call.
#ifndef MILLSTREAM_H
#define MILLSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

// Bytes. With a null pointer they are Kafka's null, which is not the same as no bytes.
typedef struct {
    const char *ptr;
    size_t len;
} ms_bytes;

typedef struct {
    ms_bytes name;
    ms_bytes value;
} ms_header;

typedef struct {
    ms_bytes key;
    ms_bytes value;
    const ms_header *headers;
    size_t header_count;
    int64_t timestamp_ms;
    int64_t partition; // -1: by the key
} ms_message;

typedef enum { MS_DEBUG, MS_INFO, MS_WARN, MS_ERROR } ms_level;

// What the plugin defines, one of these.
bool plugin_keep(const ms_message *message);
void plugin_transform(const ms_message *message);
void plugin_route(const ms_message *message);

// Memory that lives as long as the call.
static inline void *ms_alloc(size_t size);

// The text as bytes.
static inline ms_bytes ms_text(const char *text) {
    ms_bytes bytes = {text, strlen(text)};
    return bytes;
}

static inline bool ms_is(ms_bytes bytes, const char *text) {
    return bytes.ptr && bytes.len == strlen(text) && memcmp(bytes.ptr, text, bytes.len) == 0;
}

// The value of the step's configuration, or null.
static inline ms_bytes ms_config(const char *name);

// Where the records come from: the pipeline, the step as in "2-flatten", the source topic, the
// partition, and the record's offset in it.
static inline ms_bytes ms_pipeline(void);
static inline ms_bytes ms_step(void);
static inline ms_bytes ms_topic(void);
static inline uint32_t ms_partition(void);
static inline int64_t ms_offset(void);

// A line in the broker's log.
static inline void ms_log(ms_level level, const char *text);

// The record fails: the message is at fault, or the plugin is. Whatever else the call does then
// counts for nothing.
static inline void ms_bad_message(const char *text);
static inline void ms_failed(const char *text);

// Of a transformer: a message that takes the record's place. May be called several times. The
// bytes must live as long as the call.
static inline void ms_emit(const ms_message *message);

// Of a router: the name of an output. May be called several times.
static inline void ms_output(const char *name);

// From here on: how it is done.

typedef struct ms_block {
    struct ms_block *next;
    size_t size;
    size_t used;
} ms_block;

static ms_block *ms_blocks;

static inline void *ms_aligned(size_t size, size_t align) {
    if (size == 0) return (void *)align;
    ms_block *block = ms_blocks;
    if (block) {
        uintptr_t base = (uintptr_t)(block + 1);
        uintptr_t at = (base + block->used + align - 1) & ~(uintptr_t)(align - 1);
        if (at + size <= base + block->size) {
            block->used = at + size - base;
            return (void *)at;
        }
    }
    size_t room = size + align > 65536 ? size + align : 65536;
    block = (ms_block *)malloc(sizeof *block + room);
    if (!block) __builtin_trap();
    block->next = ms_blocks;
    block->size = room;
    block->used = 0;
    ms_blocks = block;
    return ms_aligned(size, align);
}

static inline void *ms_alloc(size_t size) { return ms_aligned(size, 8); }

// Keeps the block that was made first: most calls need no other.
static inline void ms_reset(void) {
    while (ms_blocks && ms_blocks->next) {
        ms_block *next = ms_blocks->next;
        free(ms_blocks);
        ms_blocks = next;
    }
    if (ms_blocks) ms_blocks->used = 0;
}

__attribute__((export_name("cabi_realloc"))) void *
ms_cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    void *place = ms_aligned(size, align);
    if (old_size) memcpy(place, old, old_size < size ? old_size : size);
    return place;
}

// How values lie in memory for the host.
typedef struct {
    uint8_t some;
    const char *ptr;
    size_t len;
} ms_abi_option;

typedef struct {
    const char *name;
    size_t name_len;
    ms_abi_option value;
} ms_abi_header;

typedef struct {
    ms_abi_option key;
    ms_abi_option value;
    const ms_abi_header *headers;
    size_t header_count;
    int64_t timestamp_ms;
    uint8_t has_partition;
    uint32_t partition;
} ms_abi_message;

typedef struct {
    uint8_t is_error;
    union {
        uint8_t keep;
        struct {
            const void *ptr;
            size_t len;
        } list;
        struct {
            uint8_t which;
            const char *ptr;
            size_t len;
        } error;
    } as;
} ms_abi_result;

__attribute__((import_module("millstream:plugin/config@0.1.0"), import_name("get"))) void
ms_abi_get(const char *name, size_t len, ms_abi_option *result);
__attribute__((import_module("millstream:plugin/logging@0.1.0"), import_name("log"))) void
ms_abi_log(uint32_t level, const char *text, size_t len);

#define MS_CONTEXT(NAME)                                                                           \
    __attribute__((import_module("millstream:plugin/context@0.1.0"), import_name(NAME)))
MS_CONTEXT("pipeline") void ms_abi_pipeline(ms_bytes *result);
MS_CONTEXT("step") void ms_abi_step(ms_bytes *result);
MS_CONTEXT("topic") void ms_abi_topic(ms_bytes *result);
MS_CONTEXT("partition") uint32_t ms_abi_partition(void);
MS_CONTEXT("offset") int64_t ms_abi_offset(void);

static ms_abi_result ms_result;

static inline ms_bytes ms_pipeline(void) {
    ms_bytes text;
    ms_abi_pipeline(&text);
    return text;
}

static inline ms_bytes ms_step(void) {
    ms_bytes text;
    ms_abi_step(&text);
    return text;
}

static inline ms_bytes ms_topic(void) {
    ms_bytes text;
    ms_abi_topic(&text);
    return text;
}

static inline uint32_t ms_partition(void) { return ms_abi_partition(); }
static inline int64_t ms_offset(void) { return ms_abi_offset(); }

static inline ms_bytes ms_config(const char *name) {
    ms_abi_option found;
    ms_abi_get(name, strlen(name), &found);
    ms_bytes value = {found.some ? found.ptr : NULL, found.some ? found.len : 0};
    return value;
}

static inline void ms_log(ms_level level, const char *text) {
    ms_abi_log((uint32_t)level, text, strlen(text));
}

static inline void ms_fail(uint8_t which, const char *text) {
    if (ms_result.is_error) return;
    size_t len = strlen(text);
    ms_result.is_error = 1;
    ms_result.as.error.which = which;
    ms_result.as.error.ptr = (const char *)memcpy(ms_alloc(len), text, len);
    ms_result.as.error.len = len;
}

static inline void ms_bad_message(const char *text) { ms_fail(0, text); }
static inline void ms_failed(const char *text) { ms_fail(1, text); }

// Room for one more in the list of results.
static inline void *ms_push(size_t size) {
    size_t count = ms_result.as.list.len;
    // Full at each power of two.
    if ((count & (count - 1)) == 0) {
        void *grown = ms_alloc((count ? 2 * count : 1) * size);
        if (count) memcpy(grown, ms_result.as.list.ptr, count * size);
        ms_result.as.list.ptr = grown;
    }
    ms_result.as.list.len = count + 1;
    return (char *)ms_result.as.list.ptr + count * size;
}

static inline ms_abi_option ms_lower(ms_bytes bytes) {
    ms_abi_option option = {bytes.ptr != NULL, bytes.ptr, bytes.len};
    return option;
}

static inline void ms_emit(const ms_message *message) {
    if (ms_result.is_error) return;
    ms_abi_header *headers =
        (ms_abi_header *)ms_alloc(message->header_count * sizeof(ms_abi_header));
    for (size_t i = 0; i < message->header_count; i++) {
        const ms_header *header = &message->headers[i];
        headers[i].name = header->name.ptr;
        headers[i].name_len = header->name.len;
        headers[i].value = ms_lower(header->value);
    }
    ms_abi_message *out = (ms_abi_message *)ms_push(sizeof *out);
    out->key = ms_lower(message->key);
    out->value = ms_lower(message->value);
    out->headers = headers;
    out->header_count = message->header_count;
    out->timestamp_ms = message->timestamp_ms;
    out->has_partition = message->partition >= 0;
    out->partition = (uint32_t)message->partition;
}

static inline void ms_output(const char *name) {
    if (ms_result.is_error) return;
    size_t len = strlen(name);
    ms_bytes *output = (ms_bytes *)ms_push(sizeof *output);
    output->ptr = (const char *)memcpy(ms_alloc(len), name, len);
    output->len = len;
}

static inline ms_bytes ms_lift(uint32_t some, const char *ptr, size_t len) {
    ms_bytes bytes = {some ? ptr : NULL, some ? len : 0};
    return bytes;
}

#if defined(MILLSTREAM_FILTER)
#define MS_FUNCTION "millstream:plugin/filter@0.1.0#keep"
#elif defined(MILLSTREAM_TRANSFORM)
#define MS_FUNCTION "millstream:plugin/transformer@0.1.0#transform"
#elif defined(MILLSTREAM_ROUTE)
#define MS_FUNCTION "millstream:plugin/router@0.1.0#route"
#endif

__attribute__((export_name(MS_FUNCTION))) ms_abi_result *
ms_call(uint32_t has_key, const char *key, size_t key_len, uint32_t has_value, const char *value,
        size_t value_len, const ms_abi_header *abi_headers, size_t header_count,
        int64_t timestamp_ms, uint32_t has_partition, uint32_t partition) {
    ms_header *headers = (ms_header *)ms_alloc(header_count * sizeof(ms_header));
    for (size_t i = 0; i < header_count; i++) {
        const ms_abi_header *header = &abi_headers[i];
        headers[i].name = ms_lift(1, header->name, header->name_len);
        headers[i].value = ms_lift(header->value.some, header->value.ptr, header->value.len);
    }
    ms_message message;
    message.key = ms_lift(has_key, key, key_len);
    message.value = ms_lift(has_value, value, value_len);
    message.headers = headers;
    message.header_count = header_count;
    message.timestamp_ms = timestamp_ms;
    message.partition = has_partition ? (int64_t)partition : -1;
    memset(&ms_result, 0, sizeof ms_result);
#if defined(MILLSTREAM_FILTER)
    bool keep = plugin_keep(&message);
    if (!ms_result.is_error) ms_result.as.keep = keep;
#elif defined(MILLSTREAM_TRANSFORM)
    plugin_transform(&message);
#elif defined(MILLSTREAM_ROUTE)
    plugin_route(&message);
#endif
    return &ms_result;
}

__attribute__((export_name("cabi_post_" MS_FUNCTION))) void ms_done(ms_abi_result *result) {
    (void)result;
    ms_reset();
}

#ifdef __cplusplus
}
#endif

#endif
