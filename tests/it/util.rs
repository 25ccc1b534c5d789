//! A broker in a process of its own, for tests that go through the real binary: it is made in a
//! temporary folder on ports that are free, and dies with the test.
#![allow(dead_code, reason = "a harness offers more than each test uses")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Longest that anything here waits; a broker that needs it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// The real binary, with nothing of the tester's environment that changes what it does.
/// `MILLSTREAM_BINARY` names another than that of this build: one built for release.
pub(crate) fn millstream() -> Command {
    let built = env!("CARGO_BIN_EXE_millstream").into();
    let mut command = Command::new(std::env::var_os("MILLSTREAM_BINARY").unwrap_or(built));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MILLSTREAM_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

/// Runs the real binary to its end with something on its standard input.
pub(crate) fn run_with_input(args: &[&str], input: &[u8]) -> Output {
    let mut child = millstream()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // From a thread: the output's pipe may fill up before the input is read to its end.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Runs the real binary to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    run_with_input(args, b"")
}

/// Standard output as text.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The standard output of a command that must have ended well.
pub(crate) fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}{}", output.status, stdout(output), stderr(output));
    stdout(output)
}

/// Sends a signal, named as `kill` names it.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}: {sent}");
}

/// A running `millstream serve`.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    kafka: Vec<String>,
    http: String,
    log: Arc<Log>,
    data: PathBuf,
    /// Removed at the end, if the folder is the harness's own.
    _folder: Option<tempfile::TempDir>,
}

impl Broker {
    /// A broker in a fresh folder.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut broker = Self::start_in(&folder.path().join("data"), &[]);
        broker._folder = Some(folder);
        broker
    }

    /// A broker in this folder, with further arguments to `serve`.
    pub(crate) fn start_in(data: &Path, args: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", data, args)
    }

    /// The same, with the addresses for Kafka clients.
    pub(crate) fn start_at(kafka: &str, data: &Path, args: &[&str]) -> Self {
        let mut child = millstream()
            .args(["serve", "--kafka", kafka, "--http", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = collect(child.stderr.take().unwrap());
        let lines = lines(child.stdout.take().unwrap());
        let mut broker = Self {
            child,
            kafka: Vec::new(),
            http: String::new(),
            log,
            data: data.to_owned(),
            _folder: None,
        };
        while broker.http.is_empty() {
            let Ok(line) = lines.recv_timeout(PATIENCE) else {
                panic!("the broker did not start: {}", broker.log());
            };
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["kafka", address] => broker.kafka.push(address.to_owned()),
                ["http", url] => url.clone_into(&mut broker.http),
                _ => {}
            }
        }
        broker
    }

    /// The first Kafka address, as `127.0.0.1:41234`.
    pub(crate) fn kafka(&self) -> &str {
        &self.kafka[0]
    }

    /// All Kafka addresses.
    pub(crate) fn kafka_addresses(&self) -> &[String] {
        &self.kafka
    }

    /// The URL of the HTTP API, as `http://127.0.0.1:41235`.
    pub(crate) fn http(&self) -> &str {
        &self.http
    }

    /// The data folder.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.text.lock().unwrap().clone()
    }

    /// The same, once a line with `text` has come: an answer may be quicker than the log.
    pub(crate) fn log_with(&self, text: &str) -> String {
        let log = self.log.text.lock().unwrap();
        let missing = |log: &mut String| !log.contains(text);
        let (log, waited) = self.log.grown.wait_timeout_while(log, PATIENCE, missing).unwrap();
        assert!(!waited.timed_out(), "{text:?} was not logged: {log}");
        log.clone()
    }

    /// Runs a client command against this broker: `--server` is added.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.run_with_input(args, b"")
    }

    /// The same, with something on its standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Output {
        run_with_input(&[args, &["--server", self.http()]].concat(), input)
    }

    /// Ends it as a power cut ends it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        signal(self.pid(), "TERM");
        self.wait()
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Either fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a process; one that does not end is killed, and fails the test.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let step = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if waited >= PATIENCE {
            child.kill().unwrap();
            panic!("process {} did not end", child.id());
        }
        std::thread::sleep(step);
        waited += step;
    }
}

/// Waits until something is so, for what has no event that could be awaited.
pub(crate) fn until(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "it did not come to pass");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Resident memory of a process, bytes.
pub(crate) fn resident_bytes(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// The lines of a stream, as they come. Read to its end, so that the writer never waits.
pub(crate) fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // Nobody may be interested any more.
            let _ = sender.send(line);
        }
    });
    receiver
}

/// What a process logs.
#[derive(Debug, Default)]
struct Log {
    text: Mutex<String>,
    grown: Condvar,
}

fn collect(stream: impl Read + Send + 'static) -> Arc<Log> {
    let log = Arc::<Log>::default();
    let shared = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut text = shared.text.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
            shared.grown.notify_all();
        }
    });
    log
}
