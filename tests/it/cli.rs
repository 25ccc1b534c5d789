//! The commands as a user meets them: through the real binary, a broker beside it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::util::{Broker, lines, millstream, run, signal, stderr, stdout, succeeded, wait};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn help_names_every_command_and_says_what_each_is_for() {
    let help = succeeded(&run(&["--help"]));
    let commands =
        ["serve", "dev", "deploy", "pipelines", "topics", "groups", "produce", "consume", "plugin"];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        let own = succeeded(&run(&[command, "--help"]));
        assert!(own.contains("Usage: millstream"), "{own}");
    }
    assert!(succeeded(&run(&["--version"])).starts_with("millstream 0."));
}

#[test]
fn what_is_not_understood_ends_with_2() {
    for args in [
        &[][..],
        &["grind"],
        &["produce"],
        &["produce", "a/b"],
        &["consume", "t", "--max", "many"],
        &["dev", "m.toml", "--input", "no-file"],
        &["serve", "--kafka", "localhost"],
        &["serve", "--segment-size", "1KiB"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty() && stdout(&output).is_empty(), "{args:?}");
    }
}

#[test]
fn no_broker_is_an_error_that_says_what_to_do() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for args in [&["topics"][..], &["pipelines"], &["groups"], &["consume", "t"]] {
        let output = run(&[args, &["--server", &url]].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains(&url) && said.contains("millstream serve"), "{said}");
    }
}

#[test]
fn a_stranger_is_not_taken_for_a_broker() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stranger = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while head.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        let page = "<p>hello</p>";
        let length = page.len();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{page}").unwrap();
    });
    let output = run(&["topics", "--server", &url]);
    stranger.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no Millstream broker"), "{}", stderr(&output));
}

#[test]
fn an_address_that_others_reach_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for flag in ["--kafka", "--http"] {
        let args = ["serve", flag, "0.0.0.0:0", "--data", data.to_str().unwrap()];
        let output = run(&args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--insecure") && said.contains("no authentication"), "{said}");
    }
    assert!(!data.exists(), "refused only after the store was opened");
    let broker = Broker::start_in(&data, &["--insecure", "--advertise", "example.com:9092"]);
    assert!(broker.kafka().starts_with("127.0.0.1:"));
}

#[test]
fn records_go_in_and_come_out() {
    let broker = Broker::start();
    let said = broker.run_with_input(&["produce", "greetings"], b"hello\n\nworld\xff\r\nlast");
    assert_eq!(succeeded(&said), "4 records to greetings\n");
    let consume = ["consume", "greetings", "--from-beginning", "--max", "4"];
    let output = broker.run(&consume);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(output.stdout, b"hello\n\nworld\xff\nlast\n");

    let topics = succeeded(&broker.run(&["topics"]));
    assert_eq!(topics, "topic      partitions  records\ngreetings           1        4\n");
    let listed = json(&succeeded(&broker.run(&["topics", "--json"])));
    assert_eq!(listed[0]["partitions"][0]["high_watermark"], 4);
    assert!(succeeded(&broker.run(&["pipelines"])).starts_with("no pipelines"));
}

#[test]
fn keys_are_kept_and_place_their_records() {
    let broker = Broker::start();
    let args = ["produce", "pairs", "--key-separator", ": ", "--json"];
    let said = succeeded(&broker.run_with_input(&args, b"a: 1\nb: 2: 3\n"));
    assert_eq!(json(&said)["records"], 2);
    let consume = ["consume", "pairs", "--from-beginning", "--max", "2"];
    let pairs = broker.run(&[&consume[..], &["--key-separator", "="]].concat());
    assert_eq!(succeeded(&pairs), "a=1\nb=2: 3\n");
    let records = succeeded(&broker.run(&[&consume[..], &["--json"]].concat()));
    let second = json(records.lines().nth(1).unwrap());
    assert_eq!((&second["key"], &second["value"]), (&"b".into(), &"2: 3".into()));
    assert_eq!((&second["offset"], &second["partition"]), (&1.into(), &0.into()));

    let output = broker.run_with_input(&args[..4], b"c: 3\nno separator\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("line 2 has no"), "{}", stderr(&output));
}

#[test]
fn consume_follows_what_comes_until_interrupted() {
    let broker = Broker::start();
    succeeded(&broker.run_with_input(&["produce", "news"], b"old\n"));
    let mut consumer = millstream()
        .args(["consume", "news", "--from-beginning", "--server", broker.http()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let seen = lines(consumer.stdout.take().unwrap());
    assert_eq!(seen.recv().unwrap(), "old");
    succeeded(&broker.run_with_input(&["produce", "news"], b"new\n"));
    assert_eq!(seen.recv().unwrap(), "new");
    signal(consumer.id(), "INT");
    assert_eq!(wait(&mut consumer).code(), Some(0));
}

#[test]
fn an_unknown_topic_is_an_error() {
    let broker = Broker::start();
    let output = broker.run(&["consume", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "error: unknown topic nowhere\n");
    let output = broker.run(&["consume", "nowhere", "--json"]);
    assert_eq!(json(&stderr(&output))["error"], "unknown topic nowhere");
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let broker = Broker::start();
    let input: String = (0..20_000).map(|n| format!("record number {n}\n")).collect();
    succeeded(&broker.run_with_input(&["produce", "many"], input.as_bytes()));
    let mut consumer = millstream()
        .args(["consume", "many", "--from-beginning", "--server", broker.http()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(consumer.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "record number 0\n");
    assert_eq!(wait(&mut consumer).code(), Some(0));
    let mut said = String::new();
    consumer.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn a_broker_that_is_asked_to_end_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start_in(folder.path(), &[]);
    succeeded(&broker.run_with_input(&["produce", "kept"], b"one\ntwo\n"));
    // One that waits for records must not hold up the end.
    let mut waiting = millstream()
        .args(["consume", "kept", "--server", broker.http()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(broker.terminate().code(), Some(0), "{}", broker.log());
    assert_eq!(wait(&mut waiting).code(), Some(1));
    let mut broker = Broker::start_in(folder.path(), &[]);
    let output = broker.run(&["consume", "kept", "--from-beginning", "--max", "2"]);
    assert_eq!(succeeded(&output), "one\ntwo\n");
    signal(broker.pid(), "INT");
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn a_data_folder_has_one_broker() {
    let broker = Broker::start();
    let data = broker.data().to_str().unwrap();
    let output = run(&["serve", "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", data]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("in use by another process"), "{}", stderr(&output));
}

#[test]
fn localhost_listens_on_every_loopback_address_with_one_port() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = millstream()
        .args(["serve", "--json", "--kafka", "localhost:0", "--http", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = lines(serve.stdout.take().unwrap());
    let mut kafka = Vec::new();
    loop {
        let line = json(&said.recv().unwrap());
        let address = line["address"].as_str().unwrap().to_owned();
        match line["protocol"].as_str().unwrap() {
            "kafka" => kafka.push(address),
            _ => break,
        }
    }
    let port = kafka[0].strip_prefix("127.0.0.1:").unwrap();
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        assert_eq!(kafka[1], format!("[::1]:{port}"));
    }
    for address in &kafka {
        TcpStream::connect(address).unwrap();
    }
    signal(serve.id(), "TERM");
    assert_eq!(wait(&mut serve).code(), Some(0));
}

/// Sends a request as it stands; the status and the body of the answer.
fn raw(broker: &Broker, head: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(broker.http().strip_prefix("http://").unwrap()).unwrap();
    let length = body.len();
    let head = head.replace('\n', "\r\n");
    write!(stream, "{head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, if body.is_empty() { Value::Null } else { json(body) })
}

#[test]
fn pages_of_other_origins_cannot_drive_the_api() {
    let broker = Broker::start();
    let (status, health) = raw(&broker, "GET /health HTTP/1.1\nhost: localhost", "");
    assert_eq!((status, &health["status"]), (200, &"ok".into()));
    let (status, answer) = raw(&broker, "GET /v1/topics HTTP/1.1\nhost: evil.example", "");
    assert_eq!((status, answer["error"].is_string()), (403, true));
    let post = "POST /v1/topics HTTP/1.1\nhost: localhost\ncontent-type:";
    let topic = "{\"name\":\"t\"}";
    assert_eq!(raw(&broker, &format!("{post} text/plain"), topic).0, 415);
    let foreign = format!("{post} application/json\norigin: http://evil.example");
    assert_eq!(raw(&broker, &foreign, topic).0, 403);
    assert_eq!(raw(&broker, &format!("{post} application/json"), topic).0, 201);
    assert_eq!(raw(&broker, &format!("{post} application/json"), topic).0, 409);
    let delete = "DELETE /v1/topics/t HTTP/1.1\nhost: localhost";
    assert_eq!(raw(&broker, &format!("{delete}\norigin: null"), "").0, 403);
    assert_eq!(raw(&broker, delete, "").0, 204);
    assert_eq!(raw(&broker, delete, "").0, 404);
}

#[test]
fn the_api_takes_and_gives_records_whole() {
    let broker = Broker::start();
    let post = "POST /v1/topics/t/records HTTP/1.1\nhost: localhost\ncontent-type: ";
    let records = r#"[{"key":"k","value_base64":"/wA=","timestamp":7,
        "headers":[{"key":"h","value":"1"},{"key":"h"}]},{"value":null}]"#;
    let (status, answer) = raw(&broker, &format!("{post}application/json"), records);
    assert_eq!((status, &answer["offsets"][1]["offset"]), (200, &1.into()), "{answer}");
    let ndjson = "{\"value\":\"a\"}\n{\"value\":\"b\"}\n";
    assert_eq!(raw(&broker, &format!("{post}application/x-ndjson"), ndjson).0, 200);
    let get = |query: &str| {
        raw(&broker, &format!("GET /v1/topics/t/records?{query} HTTP/1.1\nhost: localhost"), "")
    };
    let (_, all) = get("partition=0&offset=0");
    let first = &all["records"][0];
    assert_eq!((&first["value_base64"], &first["timestamp"]), (&"/wA=".into(), &7.into()));
    assert_eq!(first["headers"].as_array().unwrap().len(), 2);
    assert_eq!(all["records"][1].get("value"), None);
    assert_eq!(all["positions"][0]["next_offset"], 4);
    let (_, two) = get("from=0:1&max=2");
    assert_eq!(
        (two["records"].as_array().unwrap().len(), &two["positions"][0]["next_offset"]),
        (2, &3.into())
    );
    for (query, status) in [
        ("partition=0&offset=5", 416),
        ("offset=1", 400),
        ("from=0:0,0:1", 400),
        ("from=1:0", 400),
        ("since=1", 400),
        ("partition=9", 404),
    ] {
        let (found, answer) = get(query);
        assert_eq!((found, answer["error"].is_string()), (status, true), "{query}: {answer}");
    }
    let wrong = r#"[{"value":"a"},{"value":"a","value_base64":"YQ=="}]"#;
    let (status, answer) = raw(&broker, &format!("{post}application/json"), wrong);
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("record 1"), "{answer}");
}

const CHAIN: &str = r#"
[[topic]]
name = "a"
partitions = 3

[[pipeline]]
name = "first"
source = "a"
output = "b"
start = "earliest"

[[pipeline]]
name = "second"
source = "b"
output = "c"
start = "earliest"
"#;

#[test]
fn a_manifest_with_mistakes_is_refused_with_all_of_them() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("m.toml");
    std::fs::write(&manifest, "[[pipeline]]\nname = \"p\"\nsauce = \"a\"\nstart = \"late\"\n")
        .unwrap();
    let output = broker.run(&["deploy", manifest.to_str().unwrap()]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("m.toml:3:1") && said.contains("m.toml:4:"), "{said}");
    let output = broker.run(&["deploy", "--json", manifest.to_str().unwrap()]);
    let problems = json(&stderr(&output));
    assert!(problems["problems"].as_array().unwrap().len() >= 2, "{problems}");
    assert_eq!(problems["problems"][0]["line"].as_u64().map(|line| line > 0), Some(true));
    assert!(succeeded(&broker.run(&["pipelines"])).starts_with("no pipelines"));
}

#[test]
fn a_manifest_is_deployed_once() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("m.toml");
    std::fs::write(&manifest, CHAIN).unwrap();
    let deploy = ["deploy", manifest.to_str().unwrap()];
    let said = succeeded(&broker.run(&deploy));
    assert!(
        said.contains("topic a created\n") && said.contains("pipeline first started\n"),
        "{said}"
    );
    let said = succeeded(&broker.run(&deploy));
    assert_eq!(said, "pipeline first unchanged\npipeline second unchanged\n");
    let pipelines = json(&succeeded(&broker.run(&["pipelines", "--json"])));
    assert_eq!(pipelines[0]["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(pipelines[1]["sources"][0], "b");
}

#[test]
fn dev_once_ends_when_the_whole_chain_is_through() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("m.toml");
    let input = folder.path().join("in.txt");
    std::fs::write(&manifest, CHAIN).unwrap();
    std::fs::write(&input, (0..2_500).map(|n| format!("{n}\n")).collect::<String>()).unwrap();
    let input = format!("a={}", input.display());
    let dev = ["dev", manifest.to_str().unwrap(), "--once", "--input", &input];
    let shown = succeeded(&run(&dev));
    assert!(shown.contains("2,500 records fed to a") && shown.contains("… 2,497 more"), "{shown}");
    let events = succeeded(&run(&[&dev[..], &["--json", "--show", "all"]].concat()));
    let events: Vec<Value> = events.lines().map(json).collect();
    let summary = events.last().unwrap();
    assert_eq!(summary["topics"], serde_json::json!({ "a": 2_500, "b": 2_500, "c": 2_500 }));
    assert_eq!(summary["pipelines"][1]["name"], "second");
    let came = |topic: &str| events.iter().filter(|event| event["topic"] == topic).count();
    assert_eq!((came("b"), came("c")), (2_500, 2_500));
}

#[test]
fn dev_once_fails_when_a_pipeline_does() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/strong/strong.wasm");
    std::fs::copy(plugin, folder.path().join("strong.wasm")).unwrap();
    let manifest = folder.path().join("m.toml");
    let text = "[[topic]]\nname = \"in\"\n[plugin.strong]\ncomponent = \"strong.wasm\"\n\
        [[pipeline]]\nname = \"picky\"\nsource = \"in\"\noutput = \"out\"\n\
        [[pipeline.step]]\nfilter = \"strong\"\nconfig = { minimum = \"2.5\" }\n";
    std::fs::write(&manifest, text).unwrap();
    let input = folder.path().join("in.txt");
    std::fs::write(&input, "no earthquake\n").unwrap();
    let input = format!("in={}", input.display());
    let output = run(&["dev", manifest.to_str().unwrap(), "--once", "--input", &input]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert_eq!(stderr(&output), "error: not all records are through: picky failed\n");
    assert!(
        stdout(&output).contains("pipeline picky failed: in, partition 0"),
        "{}",
        stdout(&output)
    );
}

/// Waits for the next event of a name that `dev --json` prints.
fn events(dev: &mut Child) -> impl Fn(&str) -> Value + use<> {
    let said = lines(dev.stdout.take().unwrap());
    move |name| loop {
        let line = json(&said.recv().unwrap());
        if line["event"] == name {
            return line;
        }
    }
}

#[test]
fn dev_deploys_edits_until_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("m.toml");
    std::fs::write(&manifest, "nonsense = 1\n").unwrap();
    let mut dev = millstream()
        .args(["dev", "--json", "--kafka", "localhost:0", "--http", "127.0.0.1:0"])
        .arg(&manifest)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let event = events(&mut dev);
    let refused = event("refused");
    assert_eq!(refused["reason"]["problems"][0]["line"], 1, "{refused}");
    std::fs::write(&manifest, CHAIN).unwrap();
    let deployed = event("deployed");
    assert_eq!(deployed["deployment"]["pipelines"][0]["change"], "started", "{deployed}");
    signal(dev.id(), "INT");
    assert_eq!(wait(&mut dev).code(), Some(0));
}

#[test]
fn dev_shows_a_failing_record_and_deploys_a_mended_component() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, kind: &str| {
        let path = folder.path().join(name);
        let path = path.to_str().unwrap().to_owned();
        let new = ["plugin", "new", name, "--language", "wat", "--kind", kind, "--folder", &path];
        succeeded(&run(&new));
        path
    };
    let path = made("picky", "filter");
    let source = format!("{path}/picky.wat");
    let text = std::fs::read_to_string(&source).unwrap();
    // Wants another configuration than it gets.
    std::fs::write(&source, text.replace("\"contains\")", "\"sustains\")")).unwrap();
    succeeded(&run(&["plugin", "build", &path]));
    let manifest = folder.path().join("m.toml");
    let manifest_text = "[[topic]]\nname = \"in\"\n[plugin.picky]\ncomponent = \
        \"picky/picky.wasm\"\n[[pipeline]]\nname = \"p\"\nsource = \"in\"\noutput = \"out\"\n\
        [[pipeline.step]]\nfilter = \"picky\"\nconfig = { contains = \"a\" }\n\
        on-error = \"retry\"\nretry = { attempts = 100, backoff-ms = 50 }\n";
    std::fs::write(&manifest, manifest_text).unwrap();
    let input = folder.path().join("in.txt");
    std::fs::write(&input, "banana\n").unwrap();
    let mut dev = millstream()
        .args(["dev", "--json", "--kafka", "localhost:0", "--http", "127.0.0.1:0"])
        .args(["--input", &format!("in={}", input.display())])
        .arg(&manifest)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let event = events(&mut dev);
    let failed = event("failed");
    assert_eq!((&failed["reason"], &failed["offset"]), (&"failed".into(), &0.into()), "{failed}");
    assert_eq!(
        (&failed["record"]["value"], &failed["step"]),
        (&"banana".into(), &"step 1 (picky)".into())
    );
    std::fs::write(&source, text).unwrap();
    succeeded(&run(&["plugin", "build", &path]));
    assert_eq!(event("record")["record"]["value"], "banana");
    signal(dev.id(), "INT");
    assert_eq!(wait(&mut dev).code(), Some(0));
}
