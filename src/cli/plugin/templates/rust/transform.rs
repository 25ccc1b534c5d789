//! NAME: makes the value's letters capitals.

use millstream_plugin::{Output, Record, Result, transform};

fn shout(record: Record<'_>, out: &mut Output<'_>) -> Result<()> {
    match record.value() {
        Some(value) => out.value(value.to_ascii_uppercase()),
        None => out.keep(),
    }
    Ok(())
}

transform!(shout);
