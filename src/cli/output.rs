//! What goes to standard output: lines and aligned tables for people, JSON for programs. Plain
//! unless it is a terminal.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use console::{Alignment, measure_text_width, pad_str, style, truncate_str};
use serde::Serialize;

/// Columns of a sample where no terminal says how many there are.
const SAMPLE_COLUMNS: usize = 96;

/// Standard output has no reader any more.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(super) struct OutputClosed;

/// Standard output.
pub(super) struct Out {
    stdout: BufWriter<Stdout>,
    json: bool,
    /// Columns, if it is a terminal.
    width: Option<usize>,
}

/// On which side a column is aligned.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Left,
    Right,
}

impl Out {
    pub(super) fn stdout(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let width = terminal.then(|| usize::from(console::Term::stdout().size().1));
        Self { stdout: BufWriter::new(io::stdout()), json, width }
    }

    /// Whether a program reads it.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a line.
    pub(super) fn line(&mut self, line: impl AsRef<str>) -> anyhow::Result<()> {
        self.bytes(line.as_ref().as_bytes())
    }

    /// Writes a line that is shortened to what a terminal shows.
    pub(super) fn short_line(&mut self, line: &str) -> anyhow::Result<()> {
        match self.width {
            Some(width) => self.line(truncate_str(line, width.max(20), "…")),
            None => self.line(line),
        }
    }

    /// Writes a line that is shortened wherever it goes: one of a few that are there as examples.
    pub(super) fn sample_line(&mut self, line: &str) -> anyhow::Result<()> {
        match self.width {
            Some(_) => self.short_line(line),
            None => self.line(truncate_str(line, SAMPLE_COLUMNS, "…")),
        }
    }

    /// Writes a line of any bytes.
    pub(super) fn bytes(&mut self, line: &[u8]) -> anyhow::Result<()> {
        closed(self.stdout.write_all(line).and_then(|()| self.stdout.write_all(b"\n")))
    }

    /// Writes a value as one line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(value)?;
        self.line(line)
    }

    /// Writes an aligned table, each line after `indent`.
    pub(super) fn table(
        &mut self,
        indent: &str,
        columns: &[(&str, Side)],
        rows: &[Vec<String>],
    ) -> anyhow::Result<()> {
        let widths: Vec<usize> = columns
            .iter()
            .enumerate()
            .map(|(index, (head, _))| {
                let cells = rows.iter().filter_map(|row| row.get(index));
                cells
                    .map(|cell| measure_text_width(cell))
                    .fold(measure_text_width(head), usize::max)
            })
            .collect();
        let render = |cells: &[&str]| {
            let padded =
                cells.iter().zip(&widths).zip(columns).map(|((cell, width), (_, side))| {
                    let side = match side {
                        Side::Left => Alignment::Left,
                        Side::Right => Alignment::Right,
                    };
                    pad_str(cell, *width, side, None)
                });
            let line = padded.collect::<Vec<_>>().join("  ");
            format!("{indent}{}", line.trim_end())
        };
        let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
        self.line(dim(&render(&heads)))?;
        for row in rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            self.line(render(&cells))?;
        }
        Ok(())
    }

    /// Lets the reader have it.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        closed(self.stdout.flush())
    }
}

fn closed(written: io::Result<()>) -> anyhow::Result<()> {
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => OutputClosed.into(),
        _ => anyhow::Error::new(error).context("cannot write to standard output"),
    })
}

/// Text that matters less, where colours are shown.
pub(super) fn dim(text: &str) -> String {
    style(text).dim().to_string()
}

/// Text that matters more, where colours are shown.
pub(super) fn bold(text: &str) -> String {
    style(text).bold().to_string()
}

/// A number as people read it: `1,707`.
pub(super) fn number(value: impl Into<i128>) -> String {
    let value: i128 = value.into();
    let digits = value.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 record`, `1,707 records`.
pub(super) fn count(value: u64, thing: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", number(value))
}

/// Text from outside on one line: control characters, which a terminal would obey, are escaped.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let shown = [0, 7, 999, 1_000, 1_707, 1_234_567, -1_000].map(|n: i64| number(n));
        assert_eq!(shown, ["0", "7", "999", "1,000", "1,707", "1,234,567", "-1,000"]);
        assert_eq!(
            (count(1, "record"), count(0, "record")),
            ("1 record".into(), "0 records".into())
        );
    }

    #[test]
    fn nothing_from_outside_steers_the_terminal() {
        assert_eq!(printable("a\n\u{1b}[2Jé\u{9b}"), "a\\n\\u{1b}[2Jé\\u{9b}");
    }
}
