//! NAME: makes the value's letters capitals.

const std = @import("std");
const millstream = @import("gen/millstream.zig");

comptime {
    millstream.exportTransformer(transform);
}

fn transform(message: millstream.Message) millstream.Error![]const millstream.Message {
    var made = message;
    if (message.value) |value| {
        made.value = try std.ascii.allocUpperString(millstream.allocator, value);
    }
    return millstream.allocator.dupe(millstream.Message, &.{made});
}
