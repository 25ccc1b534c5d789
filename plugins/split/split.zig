//! A transformer that splits a batch, a JSON array, into a record for each of its elements, with the
//! batch's headers and timestamp.
//!
//! Config: `key` is the name of the field that becomes each record's key: a text or a number. Without
//! it the records have the key of the batch.

const std = @import("std");
const millstream = @import("gen/millstream.zig");

comptime {
    millstream.exportTransformer(split);
}

fn split(batch: millstream.Message) millstream.Error![]const millstream.Message {
    const allocator = millstream.allocator;
    const text = batch.value orelse return millstream.badMessage("the record has no value", .{});
    // Numbers stay as they are written.
    const elements = std.json.parseFromSliceLeaky([]const std.json.Value, allocator, text, .{
        .parse_numbers = false,
    }) catch |problem| switch (problem) {
        error.OutOfMemory => return error.OutOfMemory,
        else => return millstream.badMessage("the value is not a JSON array: {t}", .{problem}),
    };
    const name = millstream.config("key");
    const records = try allocator.alloc(millstream.Message, elements.len);
    for (records, elements, 0..) |*record, element, index| {
        record.* = batch;
        record.value = try std.json.Stringify.valueAlloc(allocator, element, .{});
        if (name) |field| record.key = key(element, field) orelse return millstream.badMessage(
            "element {d} has no `{s}` that is a text or a number",
            .{ index, field },
        );
    }
    return records;
}

fn key(element: std.json.Value, field: []const u8) ?[]const u8 {
    const object = switch (element) {
        .object => |object| object,
        else => return null,
    };
    return switch (object.get(field) orelse return null) {
        .string, .number_string => |text| text,
        else => null,
    };
}
