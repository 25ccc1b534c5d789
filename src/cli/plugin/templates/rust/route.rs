//! NAME: sends JSON objects to the output `json` and everything else to `text`.

use millstream_plugin::{Outputs, Record, Result, route};

fn by_format(record: Record<'_>, outputs: &mut Outputs<'_>) -> Result<()> {
    let is_object = record.value().is_some_and(|value| value.starts_with(b"{"));
    outputs.to(if is_object { "json" } else { "text" });
    Ok(())
}

route!(by_format);
