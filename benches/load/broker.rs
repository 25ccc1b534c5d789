//! A broker under load: where it listens, and what its process has used.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

/// A broker of the comparison.
pub(crate) struct Broker {
    pub(crate) name: &'static str,
    pub(crate) address: String,
    /// Its process, when it is known: on this machine, and ours to look at.
    pid: Option<u32>,
    started: Option<Child>,
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Processor time of all its threads, seconds.
    pub(crate) cpu_s: f64,
    /// Resident memory now, bytes.
    pub(crate) resident: u64,
}

impl Broker {
    /// One that is running.
    pub(crate) fn running(name: &'static str, address: &str) -> anyhow::Result<Self> {
        let port = address.rsplit(':').next().unwrap_or_default();
        let port = port.parse().with_context(|| format!("{address}: no port"))?;
        let pid = listener(port);
        if pid.is_none() {
            eprintln!("{name}: no process found at port {port}; its CPU and memory are not shown");
        }
        Ok(Self { name, address: address.to_owned(), pid, started: None })
    }

    /// Starts the binary that was built with this program.
    pub(crate) fn start(data: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_millstream"))
            .args(["serve", "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .context("millstream does not start")?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let pid = Some(child.id());
        let mut broker = Self { name: "Millstream", address: String::new(), pid, started: None };
        broker.started = Some(child);
        for line in lines {
            if let Some(address) = line?.strip_prefix("kafka") {
                broker.address = address.trim().to_owned();
                return Ok(broker);
            }
        }
        anyhow::bail!("millstream ended while it started")
    }

    /// What its process has used; zeros if that is not known.
    pub(crate) fn usage(&self) -> Usage {
        self.pid.and_then(|pid| usage(pid).ok()).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.started {
            // Its folder is thrown away: nothing is lost that somebody wants.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn usage(pid: u32) -> anyhow::Result<Usage> {
    /// What the kernel counts in, whatever the machine (USER_HZ).
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name, which may hold anything but ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    ensure!(fields.len() > 12, "too few fields");
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|line| line.split_whitespace().next()).context("no memory")?;
    Ok(Usage { cpu_s: ticks as f64 / TICKS_PER_SECOND, resident: resident.parse::<u64>()? * 1024 })
}

/// The process that listens on a port of this machine.
fn listener(port: u16) -> Option<u32> {
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields.get(3) == Some(&"0A");
            if listens && fields[1].ends_with(&format!(":{port:04X}")) {
                inodes.extend(fields.get(9).map(|inode| format!("socket:[{inode}]")));
            }
        }
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut pids = pids.filter(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        targets.any(|target| inodes.iter().any(|inode| Path::new(inode) == target))
    });
    pids.next()
}
