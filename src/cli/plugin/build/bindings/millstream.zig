//! The contract between Millstream and a plugin (`wit/` of Millstream) for Zig. Written by
//! `millstream plugin build`.
//!
//! A plugin says once what it is: `comptime { millstream.exportFilter(keep); }`, and so with
//! `exportTransformer` and `exportRouter`.

const std = @import("std");

/// What lives as long as the call; results must be made with it.
pub const allocator = arena.allocator();
var arena: std.heap.ArenaAllocator = .init(std.heap.wasm_allocator);

/// Kept from call to call, so that most calls ask the engine for no memory.
const arena_kept_bytes = 256 * 1024;

/// Why a record fails. Made by `badMessage` and `failed`, which keep the reason.
pub const Error = error{ BadMessage, Failed, OutOfMemory };

/// One record. A null is Kafka's, which is not the same as no bytes.
pub const Message = struct {
    key: ?[]const u8 = null,
    value: ?[]const u8 = null,
    headers: []const Header = &.{},
    timestamp_ms: i64,
    /// Null: by the key.
    partition: ?u32 = null,
};

/// One header of a message.
pub const Header = struct { name: []const u8, value: ?[]const u8 = null };

/// How much a line in the log matters.
pub const Level = enum(u32) { debug, info, warn, err };

/// The value of the step's configuration. Lives as long as the call.
pub fn config(name: []const u8) ?[]const u8 {
    var result: Option = undefined;
    abi_config.get(name.ptr, name.len, &result);
    return result.lift();
}

/// Where the records come from. Texts live as long as the call.
pub const context = struct {
    pub fn pipeline() []const u8 {
        return text(abi_context.pipeline);
    }

    /// As in "2-flatten".
    pub fn step() []const u8 {
        return text(abi_context.step);
    }

    /// The source topic.
    pub fn topic() []const u8 {
        return text(abi_context.topic);
    }

    pub fn partition() u32 {
        return abi_context.partition();
    }

    /// Of the record in the partition.
    pub fn offset() i64 {
        return abi_context.offset();
    }

    fn text(get: *const fn (*Bytes) callconv(.c) void) []const u8 {
        var found: Bytes = undefined;
        get(&found);
        return found.ptr[0..found.len];
    }
};

/// A line in the broker's log.
pub fn log(level: Level, comptime format: []const u8, values: anytype) void {
    const text = std.fmt.allocPrint(allocator, format, values) catch return;
    abi_logging.log(@intFromEnum(level), text.ptr, text.len);
}

/// The record fails: the message is at fault.
pub fn badMessage(comptime format: []const u8, values: anytype) Error {
    reason = std.fmt.allocPrint(allocator, format, values) catch "";
    return error.BadMessage;
}

/// The record fails: the plugin is at fault, or its configuration.
pub fn failed(comptime format: []const u8, values: anytype) Error {
    reason = std.fmt.allocPrint(allocator, format, values) catch "";
    return error.Failed;
}

/// Whether the record goes on.
pub const Keep = fn (message: Message) Error!bool;
/// The messages that take the record's place.
pub const Transform = fn (message: Message) Error![]const Message;
/// The names of the outputs that the record goes to.
pub const Route = fn (message: Message) Error![]const []const u8;

pub fn exportFilter(comptime keep: Keep) void {
    exported("millstream:plugin/filter@0.1.0#keep", struct {
        fn call(message: Message) Error!Payload {
            return .{ .keep = @intFromBool(try keep(message)) };
        }
    });
}

pub fn exportTransformer(comptime transform: Transform) void {
    exported("millstream:plugin/transformer@0.1.0#transform", struct {
        fn call(message: Message) Error!Payload {
            const messages = try transform(message);
            const out = try allocator.alloc(AbiMessage, messages.len);
            for (out, messages) |*lowered, made| lowered.* = try .lower(made);
            return .{ .list = .{ .ptr = place(AbiMessage, out), .len = out.len } };
        }
    });
}

pub fn exportRouter(comptime route: Route) void {
    exported("millstream:plugin/router@0.1.0#route", struct {
        fn call(message: Message) Error!Payload {
            const names = try route(message);
            const out = try allocator.alloc(Bytes, names.len);
            for (out, names) |*lowered, name| lowered.* = bytes(name);
            return .{ .list = .{ .ptr = place(Bytes, out), .len = out.len } };
        }
    });
}

// From here on: how it is done. Everything that belongs to one call lives in one arena: the
// arguments, which the host places through `cabi_realloc`, what the plugin makes, and the result.
// It is emptied when the host has read the result.

var reason: []const u8 = "";

fn exported(comptime name: []const u8, comptime plugin: type) void {
    const Exported = struct {
        var result: Result = undefined;

        fn call(
            has_key: u32,
            key: [*]const u8,
            key_len: usize,
            has_value: u32,
            value: [*]const u8,
            value_len: usize,
            headers: [*]const AbiHeader,
            header_count: usize,
            timestamp_ms: i64,
            has_partition: u32,
            partition: u32,
        ) callconv(.c) *Result {
            result = succeeded(.{
                .key = if (has_key == 1) key[0..key_len] else null,
                .value = if (has_value == 1) value[0..value_len] else null,
                .timestamp_ms = timestamp_ms,
                .partition = if (has_partition == 1) partition else null,
            }, headers[0..header_count]) catch |problem| .{ .is_error = 1, .payload = .{
                .failure = .{
                    .which = @intFromBool(problem != error.BadMessage),
                    .text = if (problem == error.OutOfMemory) bytes("out of memory") else bytes(reason),
                },
            } };
            return &result;
        }

        fn succeeded(message: Message, headers: []const AbiHeader) Error!Result {
            var whole = message;
            const lifted = try allocator.alloc(Header, headers.len);
            for (lifted, headers) |*header, abi| header.* = .{
                .name = abi.name.ptr[0..abi.name.len],
                .value = abi.value.lift(),
            };
            whole.headers = lifted;
            return .{ .is_error = 0, .payload = try plugin.call(whole) };
        }

        fn done(_: *Result) callconv(.c) void {
            _ = arena.reset(.{ .retain_with_limit = arena_kept_bytes });
        }
    };
    @export(&Exported.call, .{ .name = name });
    @export(&Exported.done, .{ .name = "cabi_post_" ++ name });
}

const abi_config = struct {
    extern "millstream:plugin/config@0.1.0" fn get([*]const u8, usize, *Option) void;
};

const abi_context = struct {
    extern "millstream:plugin/context@0.1.0" fn pipeline(*Bytes) void;
    extern "millstream:plugin/context@0.1.0" fn step(*Bytes) void;
    extern "millstream:plugin/context@0.1.0" fn topic(*Bytes) void;
    extern "millstream:plugin/context@0.1.0" fn partition() u32;
    extern "millstream:plugin/context@0.1.0" fn offset() i64;
};

const abi_logging = struct {
    extern "millstream:plugin/logging@0.1.0" fn log(u32, [*]const u8, usize) void;
};

const Bytes = extern struct { ptr: [*]const u8, len: usize };

fn bytes(text: []const u8) Bytes {
    return .{ .ptr = place(u8, text), .len = text.len };
}

/// Where a list lies. An empty one may lie anywhere in Zig, but for the host only in the memory.
fn place(comptime T: type, list: []const T) [*]const T {
    return if (list.len == 0) @ptrFromInt(@alignOf(T)) else list.ptr;
}

const Option = extern struct {
    some: u8,
    bytes: Bytes,

    fn lift(option: Option) ?[]const u8 {
        return if (option.some == 1) option.bytes.ptr[0..option.bytes.len] else null;
    }

    fn lower(value: ?[]const u8) Option {
        return .{ .some = @intFromBool(value != null), .bytes = bytes(value orelse "") };
    }
};

const AbiHeader = extern struct { name: Bytes, value: Option };

const AbiMessage = extern struct {
    key: Option,
    value: Option,
    headers: [*]const AbiHeader,
    header_count: usize,
    timestamp_ms: i64,
    has_partition: u8,
    partition: u32,

    fn lower(message: Message) Error!AbiMessage {
        const headers = try allocator.alloc(AbiHeader, message.headers.len);
        for (headers, message.headers) |*lowered, header| lowered.* = .{
            .name = bytes(header.name),
            .value = .lower(header.value),
        };
        return .{
            .key = .lower(message.key),
            .value = .lower(message.value),
            .headers = place(AbiHeader, headers),
            .header_count = headers.len,
            .timestamp_ms = message.timestamp_ms,
            .has_partition = @intFromBool(message.partition != null),
            .partition = message.partition orelse 0,
        };
    }
};

const Payload = extern union {
    keep: u8,
    list: extern struct { ptr: *const anyopaque, len: usize },
    failure: extern struct { which: u8, text: Bytes },
};

/// `result<…, error>` in linear memory.
const Result = extern struct { is_error: u8, payload: Payload };

comptime {
    std.debug.assert(@sizeOf(Result) == 16 and @offsetOf(Result, "payload") == 4);
    std.debug.assert(@sizeOf(AbiMessage) == 48 and @offsetOf(AbiMessage, "timestamp_ms") == 32);
}

export fn cabi_realloc(old: [*]u8, old_len: usize, alignment: usize, new_len: usize) [*]u8 {
    if (new_len == 0) return @ptrFromInt(alignment);
    const new = allocator.rawAlloc(
        new_len,
        std.mem.Alignment.fromByteUnits(alignment),
        @returnAddress(),
    ) orelse @trap();
    const kept = @min(old_len, new_len);
    @memcpy(new[0..kept], old[0..kept]);
    return new;
}
