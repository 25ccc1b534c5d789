//! What every plugin can import: the step's configuration, where its records come from, and lines
//! in the log.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};

use crate::limits::{PLUGIN_LOG_BYTES, PLUGIN_LOG_BYTES_PER_SECOND, PLUGIN_LOG_LINES};

use super::contract::bindings::millstream::plugin::{config, context, logging, types};
use super::contract::wasi::wasi::config::store;
use super::contract::wasi::wasi::logging::logging as wasi_logging;
use super::instance::Settings;
use super::limits::Limiter;
use super::log_budget::{Line, LogBudget};
use super::wasi::Wasi;
use crate::types::Offset;

/// The host's side of one instance.
pub(super) struct Host {
    pub(super) settings: Arc<Settings>,
    pub(super) limiter: Limiter,
    /// Of the first record of the call, or of the one before.
    offset: Offset,
    log_lines: usize,
    log_budget: LogBudget,
    pub(super) wasi: Wasi,
}

impl Host {
    pub(super) fn new(settings: Arc<Settings>, log_budget: LogBudget) -> Self {
        let limiter = Limiter::new(&settings.limits);
        let mut wasi = Wasi::new();
        wasi.begin_call(settings.limits.call_ms);
        Self { settings, limiter, offset: -1, log_lines: 0, log_budget, wasi }
    }

    /// Forgets what the call before has logged and which limit it hit.
    pub(super) fn begin_call(&mut self, offset: Offset, call_ms: u64) {
        if self.settings.wasi {
            self.wasi.begin_call(call_ms);
        }
        self.offset = offset;
        self.log_lines = 0;
        self.limiter.take_hit();
    }

    /// Says how many lines of the call were not written.
    pub(super) fn end_call(&mut self) {
        self.end_lines();
        if let Some(more) = self.log_lines.checked_sub(PLUGIN_LOG_LINES).filter(|more| *more > 0) {
            let text = format!("{more} further lines of one plugin call are not written");
            if self.may_write(&text) {
                tracing::warn!(step = self.settings.label(), "{text}");
            }
        }
    }

    /// Whether a line fits in what the plugin may log in this second. Tells once a second that
    /// some did not.
    fn may_write(&self, line: &str) -> bool {
        let (taken, before) = self.log_budget.take(line.len());
        if let Some(count) = before {
            tracing::warn!(step = self.settings.label(), "{count} lines were not written");
        }
        if taken == Line::FirstRefused {
            tracing::warn!(
                step = self.settings.label(),
                "logs over {PLUGIN_LOG_BYTES_PER_SECOND} bytes a second, the rest is left out"
            );
        }
        taken == Line::Written
    }
}

/// Adds everything that the contract offers.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    types::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    config::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    context::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    logging::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    store::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    wasi_logging::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)
}

impl Host {
    /// Under which name a line is written, and how; nothing if there were too many.
    fn line(&mut self, text: &str) -> Option<(String, String)> {
        self.log_lines = self.log_lines.saturating_add(1);
        if self.log_lines > PLUGIN_LOG_LINES {
            return None;
        }
        let line = one_line(text);
        self.may_write(&line).then(|| (self.settings.label(), line))
    }
}

impl store::Host for Host {
    fn get(&mut self, key: String) -> Result<Option<String>, store::Error> {
        Ok(self.settings.config.get(&key).cloned())
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, store::Error> {
        let all = self.settings.config.iter();
        Ok(all.map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

impl wasi_logging::Host for Host {
    fn log(&mut self, level: wasi_logging::Level, context: String, message: String) {
        use wasi_logging::Level;
        let text = if context.is_empty() { message } else { format!("{context}: {message}") };
        let level = match level {
            Level::Trace | Level::Debug => logging::Level::Debug,
            Level::Info => logging::Level::Info,
            Level::Warn => logging::Level::Warn,
            Level::Error | Level::Critical => logging::Level::Error,
        };
        logging::Host::log(self, level, text);
    }
}

impl types::Host for Host {}

impl config::Host for Host {
    fn get(&mut self, name: String) -> Option<String> {
        self.settings.config.get(&name).cloned()
    }
}

impl context::Host for Host {
    fn pipeline(&mut self) -> String {
        self.settings.pipeline.clone()
    }

    fn step(&mut self) -> String {
        self.settings.step.clone()
    }

    fn topic(&mut self) -> String {
        self.settings.topic.clone()
    }

    fn partition(&mut self) -> u32 {
        self.settings.partition.unsigned_abs()
    }

    fn offset(&mut self) -> i64 {
        self.offset
    }
}

impl logging::Host for Host {
    fn log(&mut self, level: logging::Level, text: String) {
        let Some((step, line)) = self.line(&text) else { return };
        match level {
            logging::Level::Debug => tracing::debug!(step, "{line}"),
            logging::Level::Info => tracing::info!(step, "{line}"),
            logging::Level::Warn => tracing::warn!(step, "{line}"),
            logging::Level::Error => tracing::error!(step, "{line}"),
        }
    }
}

/// The text as one line of bounded length. Control characters are escaped: a plugin must not be
/// able to forge a line of the broker's, nor to steer the terminal that shows it.
fn one_line(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(PLUGIN_LOG_BYTES)];
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{FAULTS, WASI, instance, logged, record};
    use super::super::{Limits, Verdict};
    use super::*;

    #[test]
    fn a_plugin_logs_under_its_steps_name_and_within_bounds() {
        let text = logged(|| {
            let mut plugin = instance(FAULTS, Limits::default());
            assert!(plugin.process(&["L", "x"].map(record)).iter().all(Result::is_ok));
        });
        let lines = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(lines("broken step=\"quakes/strong\""), PLUGIN_LOG_LINES, "{text}");
        assert_eq!(lines("100 further lines of one plugin call are not written"), 1);
        assert_eq!(text.lines().count(), PLUGIN_LOG_LINES + 1);
    }

    #[test]
    fn configuration_and_log_go_by_wasis_names_too() {
        let text = logged(|| {
            let mut plugin = instance(WASI, Limits::default());
            assert_eq!(plugin.process(&[record("x")]), [Ok(Verdict::Drop)]);
        });
        assert!(text.contains("WARN"), "{text}");
        assert!(text.contains("broken: configured step=\"quakes/strong\""), "{text}");
    }

    #[test]
    fn a_log_line_stays_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m ä"), "a\\nb\\u{1b}[31m ä");
        assert_eq!(one_line(&"x".repeat(10_000)).len(), PLUGIN_LOG_BYTES);
    }
}
