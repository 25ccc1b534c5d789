//! Whole data folders: a copy of a running broker, a look over one that does not run, and what a
//! repair puts into place.

use std::fs;
use std::path::Path;

use crate::client::{Client, batch};
use crate::util::{Broker, run, stderr, stdout, succeeded};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn values(broker: &Broker, topic: &str) -> Vec<String> {
    let mut client = Client::connect(broker.kafka()).unwrap();
    let records = client.read_all(topic, 0).unwrap().into_iter();
    records.map(|r| String::from_utf8(r.value.unwrap().to_vec()).unwrap()).collect()
}

#[test]
fn a_copy_of_a_running_broker_is_the_broker_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, restored) = (folder.path().join("copy"), folder.path().join("restored"));
    let broker = Broker::start();
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    for number in 0..50 {
        client.produce("t", 0, &batch(&[format!("before {number}")], None)).unwrap();
    }
    succeeded(&broker.run(&["backup", "--to", text(&copy)]));
    client.produce("t", 0, &batch(&["after".to_owned()], None)).unwrap();
    let again = broker.run(&["backup", "--to", text(&copy)]);
    assert!(!again.status.success() && stderr(&again).contains("not empty"), "{again:?}");

    let report = succeeded(&run(&["check", text(&copy)]));
    assert!(report.contains("everything is as it was written"), "{report}");
    succeeded(&run(&["restore", text(&copy), "--data", text(&restored)]));
    let second = Broker::start_in(&restored, &[]);
    let expected: Vec<String> = (0..50).map(|number| format!("before {number}")).collect();
    assert_eq!(values(&second, "t"), expected);
    let mut client = Client::connect(second.kafka()).unwrap();
    let appended = client.produce("t", 0, &batch(&["more".to_owned()], None)).unwrap();
    assert_eq!(appended.base_offset, 50);
    assert_eq!(values(&broker, "t").len(), 51);
}

#[test]
fn a_repair_puts_what_can_be_read_into_place_and_says_what_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut broker = Broker::start_in(&data, &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    for value in ["first", "to be damaged", "last"] {
        client.produce("t", 0, &batch(&[value.to_owned()], None)).unwrap();
    }
    let busy = run(&["check", text(&data)]);
    assert!(stderr(&busy).contains("in use by another process"), "{busy:?}");
    assert!(broker.terminate().success());
    drop(broker);
    let path = data.join("segments/0000000001.redb");
    let mut bytes = fs::read(&path).unwrap();
    let needle = b"to be damaged";
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    // It may have what the segment lacks.
    let redo = data.join("redo");
    fs::write(&redo, vec![0; fs::read(&redo).unwrap().len()]).unwrap();

    let report = run(&["check", text(&data)]);
    assert!(!report.status.success());
    let told = stdout(&report);
    assert!(told.contains("t/0: offsets 1 to before 2 cannot be read"), "{told}");
    assert!(told.contains("segments/0000000001.redb is damaged"), "{told}");
    assert_eq!(fs::read(&path).unwrap(), bytes, "a check changes nothing");

    let repaired = succeeded(&run(&["check", "--repair", text(&data)]));
    assert!(repaired.contains("segments/0000000001.redb is replaced"), "{repaired}");
    assert!(repaired.contains("t/0: offsets 1 to before 2"), "{repaired}");
    assert_eq!(fs::read(data.join("damaged/0000000001.redb")).unwrap(), bytes);
    let broker = Broker::start_in(&data, &[]);
    assert_eq!(values(&broker, "t"), ["first", "last"]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    let appended = client.produce("t", 0, &batch(&["more".to_owned()], None)).unwrap();
    assert_eq!(appended.base_offset, 3);
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let output = run(&["check", text(&missing)]);
    assert!(stderr(&output).contains("is not there"), "{output:?}");
    assert!(!missing.exists());
}

#[test]
fn a_lost_meta_file_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut broker = Broker::start_in(&data, &[]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.create_topic("kept", &[("retention.ms", "-1")]);
    for value in ["first", "last"] {
        client.produce("kept", 0, &batch(&[value.to_owned()], None)).unwrap();
    }
    assert!(broker.terminate().success());
    drop(broker);
    let path = data.join("meta.redb");
    let mut bytes = fs::read(&path).unwrap();
    let setting = b"retention.ms";
    for at in 0..bytes.len() - setting.len() {
        if bytes[at..].starts_with(setting) {
            bytes[at] ^= 1;
        }
    }
    fs::write(&path, &bytes).unwrap();
    let told = stdout(&run(&["check", text(&data)]));
    assert!(told.contains("meta.redb is damaged"), "{told}");
    let serve = ["serve", "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", text(&data)];
    let refused = stderr(&run(&serve));
    assert!(refused.contains("--repair") && refused.contains("meta.redb is damaged"), "{refused}");
    let repaired = succeeded(&run(&["check", "--repair", text(&data)]));
    assert!(repaired.contains("meta.redb is replaced by what could be read"), "{repaired}");
    assert_eq!(fs::read(data.join("damaged/meta.redb")).unwrap(), bytes);
    let name = topic(&data);
    assert!(repaired.contains("lost: the name and the settings of a topic"), "{repaired}");
    assert!(repaired.contains(&format!("its records are in {name}")), "{name}: {repaired}");

    // And without the file at all.
    fs::remove_file(&path).unwrap();
    let repaired = succeeded(&run(&["check", "--repair", text(&data)]));
    assert!(repaired.contains("lost: the name and the settings of a topic"), "{repaired}");
    assert!(topic(&data).starts_with("recovered-"), "{repaired}");
}

/// The one topic that a broker has in this folder, and all of its records.
fn topic(data: &Path) -> String {
    let mut broker = Broker::start_in(data, &[]);
    let mut topics = ureq::get(format!("{}/v1/topics", broker.http())).call().unwrap();
    let topics: serde_json::Value = topics.body_mut().read_json().unwrap();
    assert_eq!(topics.as_array().unwrap().len(), 1, "{topics}");
    assert_eq!(topics[0]["config"]["retention.ms"], "-1");
    let name = topics[0]["name"].as_str().unwrap().to_owned();
    assert_eq!(values(&broker, &name), ["first", "last"]);
    assert!(broker.terminate().success());
    name
}
