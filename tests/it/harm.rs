//! Plugins out to harm, in the real process: what each may do is cut short, its record becomes a
//! dead letter, the broker's memory stays within bounds, and everybody else is served.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use millstream::kafka::messages::ErrorCode;

use crate::client::{Client, batch};
use crate::latency::{Workers, compare};
use crate::util::{Broker, resident_bytes, stderr, succeeded, until};

const MIB: usize = 1 << 20;

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plugins");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The text with one place changed.
fn with(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    text.replace(from, to)
}

/// The filter, with this in its start function.
fn at_start(body: &str) -> String {
    let start = format!("(func $start {body}) (start $start)\n    (memory (export");
    with(&fixture("filter.wat"), "(memory (export", &start)
}

/// The transformer, which instead of trapping makes handles of a resource of its own without end.
fn handles() -> String {
    let faults = fixture("faults.wat");
    let faults = with(
        &faults,
        "(core module $plugin\n",
        "(type $own (resource (rep i32)))\n  (core func $make (canon resource.new $own))\n\
         (core module $plugin\n\
         (import \"host\" \"make\" (func $make (param i32) (result i32)))\n",
    );
    let faults = with(
        &faults,
        "(export \"get\" (func $get))",
        "(export \"make\" (func $make)) (export \"get\" (func $get))",
    );
    with(
        &faults,
        "(i32.const 0x74)) (then unreachable))",
        "(i32.const 0x74)) (then (loop $h (drop (call $make (i32.const 1))) (br $h))))",
    )
}

/// The transformer, which instead of tidying up after a call logs 100 lines of 64 KiB.
fn logs() -> String {
    let faults = with(
        &fixture("faults.wat"),
        "(call $log (i32.const 1) (i32.const 32) (i32.const 6))",
        "(call $log (i32.const 1) (i32.const 4096) (i32.const 61440))",
    );
    with(&faults, "(memory (export \"memory\") 1)", "(memory (export \"memory\") 2)")
}

/// Components by name, a pipeline each, and the values that do harm.
fn plugins() -> Vec<(&'static str, &'static str, String, &'static [&'static str])> {
    let faults: &[&str] =
        &["s", "t", "r", "m", "T", "e", "b", "O", "o", "B", "H", "u", "w", "p", "R"];
    vec![
        ("faults", "transform", fixture("faults.wat"), faults),
        ("handles", "transform", handles(), &["t"]),
        ("loops", "filter", at_start("(loop $spin (br $spin))"), &["x"]),
        ("traps", "filter", at_start("unreachable"), &["x"]),
        ("deep", "filter", at_start("(call $start)"), &["x"]),
    ]
}

fn deploy(folder: &Path, broker: &Broker, plugins: &[(&str, &str, String)]) {
    let mut manifest = String::new();
    for (name, kind, text) in plugins {
        std::fs::write(folder.join(format!("{name}.wasm")), wat::parse_str(text).unwrap()).unwrap();
        write!(
            manifest,
            "[plugin.{name}]\ncomponent = '{name}.wasm'\n[[topic]]\nname = '{name}'\n\
             [[pipeline]]\nname = '{name}'\nsource = '{name}'\noutput = '{name}.out'\n\
             dead-letter = '{name}.bad'\n[[pipeline.step]]\n{kind} = '{name}'\n\
             on-error = 'dead-letter'\nlimits = {{ call-ms = 500, memory-mib = 16 }}\n"
        )
        .unwrap();
    }
    let path = folder.join("harm.toml");
    std::fs::write(&path, manifest).unwrap();
    succeeded(&broker.run(&["deploy", path.to_str().unwrap()]));
}

fn values(client: &mut Client, topic: &str) -> Vec<String> {
    let records = client.read_all(topic, 0).unwrap().into_iter();
    records.map(|r| String::from_utf8(r.value.unwrap().to_vec()).unwrap()).collect()
}

fn end(client: &mut Client, topic: &str) -> i64 {
    client.offset_at(topic, 0, -1)
}

#[test]
fn each_harm_costs_its_record_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start_in(&folder.path().join("data"), &[]);
    let plugins = plugins();
    let deployed: Vec<_> =
        plugins.iter().map(|(name, kind, text, _)| (*name, *kind, text.clone())).collect();
    deploy(folder.path(), &broker, &deployed);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("other").unwrap();
    let before = resident_bytes(broker.pid());
    for (name, _, _, harms) in &plugins {
        let fine = ["n", "2"].iter().filter(|_| *name == "faults");
        let records = harms.iter().chain(fine).flat_map(|harm| [harm.to_string(), "x".to_owned()]);
        client.produce(name, 0, &batch(&records.collect::<Vec<_>>(), None)).unwrap();
    }
    // Everybody else is served all the while.
    let mut served = 0;
    until(|| {
        let answer = client.produce("other", 0, &batch(&["y".to_owned()], None)).unwrap();
        assert_eq!(answer.error_code, ErrorCode::None);
        served += 1;
        plugins.iter().all(|(name, _, _, harms)| {
            let letters = end(&mut client, &format!("{name}.bad"));
            letters >= i64::try_from(harms.len()).unwrap()
        })
    });
    let grown = resident_bytes(broker.pid()).saturating_sub(before);
    assert!(grown < 400 * MIB, "{grown} bytes more than before");
    assert_eq!(end(&mut client, "other"), served);
    let letters = |client: &mut Client, name: &str| values(client, &format!("{name}.bad"));
    for (name, kind, _, harms) in &plugins {
        let mut expected: Vec<&str> = harms.to_vec();
        match *kind {
            // Of a start function every record is to blame.
            "filter" => expected.push("x"),
            // The allocator that loops is the next record's.
            _ if *name == "faults" => expected[harms.len() - 1] = "x",
            _ => {}
        }
        until(|| end(&mut client, &format!("{name}.bad")) >= expected.len() as i64);
        assert_eq!(letters(&mut client, name), expected, "{name}: {}", broker.log());
    }
    until(|| end(&mut client, "faults.out") == 19);
    let mut out = vec!["x"; 19];
    out[14] = "R";
    out[16..18].fill("2");
    assert_eq!(values(&mut client, "faults.out"), out);
    let status = succeeded(&broker.run(&["pipelines"]));
    assert!(!status.contains("failed"), "{status}");
}

#[test]
fn a_plugin_that_logs_without_end_is_told_so_and_fills_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start_in(&folder.path().join("data"), &[]);
    deploy(folder.path(), &broker, &[("logs", "transform", logs())]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    let started = Instant::now();
    // 80 MB of text, cut at 4 KiB a line and 100 lines a call: 40 MB.
    client.produce("logs", 0, &batch(&vec!["L".to_owned(); 100], None)).unwrap();
    // A call that takes too long, for all that it logs, makes a dead letter.
    until(|| end(&mut client, "logs.out") + end(&mut client, "logs.bad") == 100);
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 2;
    let log = broker.log();
    assert!(log.contains("logs over 262144 bytes a second"), "{}", log.len());
    // Zeros are escaped, which is what makes the text longer than what was taken.
    assert!(log.len() < seconds * 6 * 262_144, "{} bytes in {seconds} s", log.len());
    let told = log.matches("logs over").count();
    assert!(told <= seconds, "{told} times");
}

/// A component of a filter and of further bytes: a module that nobody instantiates, compiled all
/// the same.
fn beside(module: &[u8]) -> Vec<u8> {
    let mut bytes = wat::parse_str(fixture("filter.wat")).unwrap();
    bytes.push(1);
    leb(module.len(), &mut bytes);
    bytes.extend_from_slice(module);
    bytes
}

fn leb(mut number: usize, bytes: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return;
        }
    }
}

/// A module of so many functions of about so many bytes each.
fn module(functions: usize, function_bytes: usize) -> Vec<u8> {
    let section = |id: u8, content: &[u8]| {
        let mut bytes = vec![id];
        leb(content.len(), &mut bytes);
        bytes.extend_from_slice(content);
        bytes
    };
    // One local; a block in each step, so that there is something to allocate registers for:
    // local 0 = local 0 * local 0 + 77, if it is not zero.
    let step: &[u8] = &[
        0x02, 0x40, 0x20, 0, 0x45, 0x0d, 0, 0x20, 0, 0x20, 0, 0x6c, 0x41, 13, 0x6a, 0x21, 0, 0x0b,
    ];
    let mut body = vec![1, 1, 0x7f];
    while body.len() < function_bytes {
        body.extend_from_slice(step);
    }
    body.push(0x0b);
    let (mut types, mut code) = (Vec::new(), Vec::new());
    leb(functions, &mut types);
    leb(functions, &mut code);
    types.resize(types.len() + functions, 0);
    for _ in 0..functions {
        leb(body.len(), &mut code);
        code.extend_from_slice(&body);
    }
    let head = b"\0asm\x01\0\0\0".to_vec();
    [head, section(1, &[1, 0x60, 0, 0]), section(3, &types), section(10, &code)].concat()
}

const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

/// A component of one section of types.
fn types(content: &[u8]) -> Vec<u8> {
    let mut bytes = [PREAMBLE, &[7]].concat();
    leb(content.len(), &mut bytes);
    [&bytes, content].concat()
}

/// Lists of lists, to that depth.
fn list_nest(depth: usize) -> Vec<u8> {
    let mut content = Vec::new();
    leb(depth + 1, &mut content);
    // Of bytes, then each of the one before.
    content.extend([0x70, 0x7d]);
    for before in 0..depth {
        content.push(0x70);
        // As a signed number: one bit more.
        let (low, high) = ((before & 0x7f) as u8 | 0x80, (before >> 7 & 0x7f) as u8 | 0x80);
        content.extend([low, high, (before >> 14) as u8]);
    }
    types(&content)
}

/// Types of components in each other, to that depth.
fn type_nest(depth: usize) -> Vec<u8> {
    types(&[&[1][..], &[0x41, 1, 1].repeat(depth), &[0x41, 0]].concat())
}

/// Components in components, to that depth.
fn component_nest(depth: usize) -> Vec<u8> {
    let mut bytes = PREAMBLE.to_vec();
    for _ in 0..depth {
        let mut outer = PREAMBLE.to_vec();
        outer.push(4);
        leb(bytes.len(), &mut outer);
        outer.extend_from_slice(&bytes);
        bytes = outer;
    }
    bytes
}

/// Deploys bytes as a filter; what is said of it.
fn refusal(folder: &Path, broker: &Broker, name: &str, component: &[u8]) -> String {
    std::fs::write(folder.join(format!("{name}.wasm")), component).unwrap();
    let manifest = folder.join(format!("{name}.toml"));
    let text = format!(
        "[plugin.{name}]\ncomponent = '{name}.wasm'\n[[topic]]\nname = 'in'\n[[pipeline]]\n\
         name = '{name}'\nsource = 'in'\noutput = 'out'\n[[pipeline.step]]\nfilter = '{name}'\n"
    );
    std::fs::write(&manifest, text).unwrap();
    let output = broker.run(&["deploy", manifest.to_str().unwrap()]);
    assert!(!output.status.success(), "{name} was deployed");
    stderr(&output)
}

#[test]
fn what_is_too_large_or_too_deep_is_refused_and_the_broker_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start_in(&folder.path().join("data"), &[]);
    let before = resident_bytes(broker.pid());
    let large = beside(&module(100, MIB));
    assert!(large.len() > 100 * MIB);
    let told = refusal(folder.path(), &broker, "large", &large);
    assert!(told.contains("67108864"), "{told}");
    for depth in [100, 10_000] {
        let told = refusal(folder.path(), &broker, "lists", &list_nest(depth));
        assert!(told.contains("type nesting is too deep"), "{told}");
        let told = refusal(folder.path(), &broker, "types", &type_nest(depth));
        assert!(told.contains("types in each other") || depth == 100, "{told}");
        let told = refusal(folder.path(), &broker, "nested", &component_nest(depth));
        assert!(told.contains("components in each other"), "{told}");
    }
    let grown = resident_bytes(broker.pid()).saturating_sub(before);
    assert!(grown < 400 * MIB, "{grown} bytes more than before");
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let answer = client.produce("t", 0, &batch(&["x".to_owned()], None)).unwrap();
    assert_eq!(answer.error_code, ErrorCode::None);
}

#[test]
#[ignore = "a measurement: prints what clients of other topics feel of plugins that mean harm"]
fn others_feel_little_of_bad_plugins() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start_in(&folder.path().join("data"), &[]);
    let mut deployed: Vec<_> =
        plugins().into_iter().map(|(name, kind, text, _)| (name, kind, text)).collect();
    deployed.push(("logs", "transform", logs()));
    deploy(folder.path(), &broker, &deployed);
    println!(
        "| beside | alone p50 / p99 | beside it p50 / p99 | ratio p50 / p99 |\n|---|---|---|---|"
    );
    let kafka = broker.kafka().to_owned();
    for (what, plugin, harm) in [
        ("endless loops", "faults", "s"),
        ("loops in realloc", "faults", "R"),
        ("loops in post-return", "faults", "p"),
        ("loops in start functions", "loops", "x"),
        ("memory until refused", "faults", "m"),
        ("recursion without end", "faults", "r"),
        ("handles without end", "handles", "t"),
        ("1 to 1,000,000 records", "faults", "O"),
        ("logs without end", "logs", "L"),
    ] {
        compare(&broker, what, || {
            let kafka = kafka.clone();
            Workers::begin(1, move |_| {
                let mut client = Client::connect(&kafka).unwrap();
                let records = batch(&vec![harm.to_owned(); 20], None);
                Box::new(move || {
                    client.produce(plugin, 0, &records).unwrap();
                    std::thread::sleep(Duration::from_millis(50));
                })
            })
        });
    }
}

#[test]
#[ignore = "a measurement: prints how long components take to compile that mean harm, and memory"]
fn compile_bombs() {
    for (what, functions, bytes) in [
        ("100 functions of 100 KB", 100, 100_000),
        ("4 functions of 7 MB", 4, 7_000_000),
        ("100,000 functions of 250 bytes", 100_000, 250),
        ("60 functions of 1 MB", 60, 1_000_000),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start_in(&folder.path().join("data"), &[]);
        let component = beside(&module(functions, bytes));
        std::fs::write(folder.path().join("bomb.wasm"), &component).unwrap();
        let manifest = folder.path().join("bomb.toml");
        let text = "[plugin.bomb]\ncomponent = 'bomb.wasm'\n[[topic]]\nname = 'in'\n[[pipeline]]\n\
            name = 'bomb'\nsource = 'in'\noutput = 'out'\n[[pipeline.step]]\nfilter = 'bomb'\n\
            limits = { component-mib = 64 }\n";
        std::fs::write(&manifest, text).unwrap();
        let started = Instant::now();
        let output = broker.run(&["deploy", manifest.to_str().unwrap()]);
        let took = started.elapsed();
        let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
        let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
        let said = stderr(&output);
        println!("{what}, {} bytes: {took:?}, {peak}, {} {said}", component.len(), output.status);
    }
}
