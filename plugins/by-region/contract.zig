//! The router's side of the contract (`../../wit`) in Zig, for which there is no binding generator:
//! the canonical ABI by hand. It knows nothing of what is routed.
//!
//! Everything that belongs to one call lives in one arena: the arguments, which the host places
//! through `cabi_realloc`, what the router makes, and the result. It is emptied when the host has
//! read the result.

const std = @import("std");

/// What lives as long as the call. A result must be made with it.
pub const call_allocator = arena.allocator();
var arena: std.heap.ArenaAllocator = .init(std.heap.wasm_allocator);

/// Kept from call to call, so that most calls ask the engine for no memory.
const arena_kept_bytes = 256 * 1024;

/// What a router may answer, as in `types.error` of the contract.
pub const Outcome = union(enum) {
    outputs: []const []const u8,
    bad_message: []const u8,
    failed: []const u8,
};

/// Receives the message's value, null for Kafka's null.
pub const Route = fn (value: ?[]const u8) std.mem.Allocator.Error!Outcome;

/// The value of the config named `name`. Lives as long as the call.
pub fn config(name: []const u8) ?[]const u8 {
    var result: extern struct { some: u8, text: Text } = undefined;
    config_get(name.ptr, name.len, &result);
    return if (result.some == 1) result.text.ptr[0..result.text.len] else null;
}

/// Exports `route` under the names that the component tools look for.
pub fn exportRouter(comptime route: Route) void {
    const name = "millstream:plugin/router@0.1.0#route";
    const Exported = struct {
        var returned: Result = undefined;

        // The message's fields, flattened: key, value, headers, timestamp, partition.
        fn call(
            _: u32,
            _: [*]u8,
            _: usize,
            has_value: u32,
            value: [*]const u8,
            value_len: usize,
            _: [*]u8,
            _: usize,
            _: i64,
            _: u32,
            _: u32,
        ) callconv(.c) *Result {
            const given = if (has_value == 1) value[0..value_len] else null;
            returned = lower(route(given)) catch failure(1, "out of memory");
            return &returned;
        }

        fn done(_: *Result) callconv(.c) void {
            _ = arena.reset(.{ .retain_with_limit = arena_kept_bytes });
        }
    };
    @export(&Exported.call, .{ .name = name });
    @export(&Exported.done, .{ .name = "cabi_post_" ++ name });
}

extern "millstream:plugin/config@0.1.0" fn get(
    name: [*]const u8,
    name_len: usize,
    result: *anyopaque,
) void;
const config_get = get;

const Text = extern struct { ptr: [*]const u8, len: usize };

/// `result<list<string>, error>` in linear memory.
const Result = extern struct {
    is_error: u8,
    payload: extern union {
        outputs: extern struct { ptr: [*]const Text, len: usize },
        failure: extern struct { case: u8, text: Text },
    },
};

comptime {
    std.debug.assert(@sizeOf(Result) == 16 and @offsetOf(Result, "payload") == 4);
}

fn lower(outcome: std.mem.Allocator.Error!Outcome) std.mem.Allocator.Error!Result {
    switch (try outcome) {
        .outputs => |outputs| {
            const texts = try call_allocator.alloc(Text, outputs.len);
            for (texts, outputs) |*text, output| text.* = .{ .ptr = output.ptr, .len = output.len };
            return .{ .is_error = 0, .payload = .{
                .outputs = .{ .ptr = texts.ptr, .len = texts.len },
            } };
        },
        .bad_message => |text| return failure(0, text),
        .failed => |text| return failure(1, text),
    }
}

fn failure(case: u8, text: []const u8) Result {
    return .{ .is_error = 1, .payload = .{
        .failure = .{ .case = case, .text = .{ .ptr = text.ptr, .len = text.len } },
    } };
}

export fn cabi_realloc(old: [*]u8, old_len: usize, alignment: usize, new_len: usize) [*]u8 {
    if (new_len == 0) return @ptrFromInt(alignment);
    const place = call_allocator.rawAlloc(
        new_len,
        std.mem.Alignment.fromByteUnits(alignment),
        @returnAddress(),
    ) orelse @trap();
    const kept = @min(old_len, new_len);
    @memcpy(place[0..kept], old[0..kept]);
    return place;
}
