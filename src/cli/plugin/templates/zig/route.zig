//! NAME: sends JSON objects to the output `json` and everything else to `text`.

const std = @import("std");
const millstream = @import("gen/millstream.zig");

comptime {
    millstream.exportRouter(route);
}

fn route(message: millstream.Message) millstream.Error![]const []const u8 {
    const json = std.mem.startsWith(u8, message.value orelse "", "{");
    return if (json) &.{"json"} else &.{"text"};
}
