//! A router for flat earthquake records, as the plugin `flatten` makes them.
//!
//! A record goes to the output named after its region if the config lists it, else to `elsewhere`;
//! and to `major` as well if it is strong enough. The name of a region's output is the region in
//! lower case with a '-' for whatever is neither letter nor digit: "Puerto Rico" is `puerto-rico`.
//!
//! Config: `regions` lists output names, separated by commas; `major` is the least magnitude that
//! goes to `major`, none if it is not given.

const std = @import("std");
const millstream = @import("gen/millstream.zig");

comptime {
    millstream.exportRouter(route);
}

const Quake = struct { region: ?[]const u8, magnitude: ?f64 = null };

fn route(message: millstream.Message) millstream.Error![]const []const u8 {
    const arena = millstream.allocator;
    const text = message.value orelse return millstream.badMessage("the record has no value", .{});
    const quake = std.json.parseFromSliceLeaky(Quake, arena, text, .{
        .ignore_unknown_fields = true,
    }) catch |problem| return millstream.badMessage(
        "not a flat earthquake record with region and magnitude: {t}",
        .{problem},
    );

    const least_major = majorMagnitude() catch |problem| return millstream.failed(
        "config `major` is not a magnitude such as 5.0: {t}",
        .{problem},
    );
    var outputs: std.ArrayList([]const u8) = try .initCapacity(arena, 2);
    outputs.appendAssumeCapacity(try regionOutput(quake.region));
    if (least_major) |least| if (quake.magnitude) |magnitude| {
        if (magnitude >= least) outputs.appendAssumeCapacity("major");
    };
    return outputs.items;
}

/// The output named after the region, or `elsewhere` if the config does not list it.
fn regionOutput(region: ?[]const u8) ![]const u8 {
    const name = try outputName(region orelse return "elsewhere");
    var listed = std.mem.tokenizeAny(u8, millstream.config("regions") orelse "", ", ");
    while (listed.next()) |output| {
        if (std.mem.eql(u8, output, name)) return name;
    }
    return "elsewhere";
}

fn outputName(region: []const u8) ![]const u8 {
    const name = try millstream.allocator.dupe(u8, region);
    for (name) |*byte| {
        byte.* = if (std.ascii.isAlphanumeric(byte.*)) std.ascii.toLower(byte.*) else '-';
    }
    return name;
}

/// Null if the config does not ask for the output `major`.
fn majorMagnitude() !?f64 {
    const text = millstream.config("major") orelse return null;
    return try std.fmt.parseFloat(f64, std.mem.trim(u8, text, " "));
}
