//! What a workload measures, and the topics it works on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::broker::{Broker, Usage};
use crate::client::Client;

/// One round of one workload on one broker.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// In the order of the workload's figures.
    pub(crate) figures: Vec<f64>,
    /// Processor seconds of the broker for a million records.
    pub(crate) cpu_s_per_million: f64,
}

impl Measured {
    pub(crate) fn new(figures: impl Into<Vec<f64>>, cpu_s_per_million: f64) -> Self {
        Self { figures: figures.into(), cpu_s_per_million }
    }
}

/// Measures the time and the broker's processor time from its start on.
pub(crate) struct Meter<'a> {
    broker: &'a Broker,
    usage: Usage,
    start: Instant,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(broker: &'a Broker) -> Self {
        Self { broker, usage: broker.usage(), start: Instant::now() }
    }

    /// The time since, and the processor seconds for a million records.
    pub(crate) fn stop(self, records: u64) -> (Duration, f64) {
        let elapsed = self.start.elapsed();
        let cpu_s = self.broker.usage().cpu_s - self.usage.cpu_s;
        (elapsed, cpu_s * 1e6 / records.max(1) as f64)
    }
}

/// A topic of its own for a round; deleted after it.
pub(crate) struct Topic {
    pub(crate) name: String,
    address: String,
}

impl Topic {
    pub(crate) fn create(broker: &Broker, partitions: i32) -> anyhow::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("load-{}-{count}", std::process::id());
        let address = broker.address.clone();
        Client::connect(&address)?.create_topic(&name, partitions)?;
        Ok(Self { name, address })
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        let deleted =
            Client::connect(&self.address).and_then(|mut client| client.delete_topic(&self.name));
        if let Err(error) = deleted {
            eprintln!("{} was not deleted: {error:#}", self.name);
        }
    }
}

pub(crate) fn rate(records: u64, elapsed: Duration) -> f64 {
    records as f64 / elapsed.as_secs_f64()
}

/// Sorts.
pub(crate) fn percentile_ms(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Sorts; of an even number, the lower one in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
