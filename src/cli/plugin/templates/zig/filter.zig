//! NAME: keeps the records whose value contains the text that the step's configuration names.

const std = @import("std");
const millstream = @import("gen/millstream.zig");

comptime {
    millstream.exportFilter(keep);
}

fn keep(message: millstream.Message) millstream.Error!bool {
    const contains = millstream.config("contains") orelse "";
    if (contains.len == 0) return millstream.failed("config `contains` is missing", .{});
    return std.mem.indexOf(u8, message.value orelse "", contains) != null;
}
