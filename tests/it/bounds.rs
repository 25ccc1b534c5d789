//! What clients may take of a broker, and that one who takes too much, or takes it and does not
//! move, costs the others nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use millstream::kafka::messages::{
    ApiKey, ApiVersionsRequest, ErrorCode, FetchRequest, MetadataRequest,
};
use millstream::record::{BatchBuilder, Compression};

use crate::client::{Client, batch, fetch_request, produce_request, request_head};
use crate::util::{Broker, resident_bytes, until};

/// Longer than any test may take: what waits so long waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(args: &[&str]) -> (tempfile::TempDir, Broker) {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start_in(&folder.path().join("data"), args);
    (folder, broker)
}

fn counter(broker: &Broker, name: &str) -> u64 {
    let mut answer = ureq::get(format!("{}/v1/broker", broker.http())).call().unwrap();
    let answer: serde_json::Value = answer.body_mut().read_json().unwrap();
    answer["counters"][name].as_u64().unwrap()
}

/// Waits until the broker closes the connection.
fn wait_for_end(mut stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    match stream.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("{other:?}"),
    }
}

/// Whether a client that comes now is served.
fn is_served(broker: &Broker) -> bool {
    let Ok(mut client) = Client::connect(broker.kafka()) else { return false };
    client.call(&MetadataRequest::default(), 12).is_ok()
}

#[test]
fn an_address_may_have_so_many_connections() {
    let (_folder, broker) = start(&["--max-connections-per-ip", "2"]);
    let connect = || {
        let mut client = Client::connect(broker.kafka()).unwrap();
        client.call(&MetadataRequest::default(), 12).unwrap();
        client
    };
    let (first, mut second) = (connect(), connect());
    wait_for_end(&TcpStream::connect(broker.kafka()).unwrap());
    assert_eq!(counter(&broker, "refused-connections"), 1);
    second.call(&MetadataRequest::default(), 12).unwrap();
    drop(first);
    until(|| is_served(&broker));
}

#[test]
fn more_connections_than_allowed_wait_their_turn() {
    let (_folder, broker) = start(&["--max-connections", "1"]);
    let mut first = Client::connect(broker.kafka()).unwrap();
    first.call(&MetadataRequest::default(), 12).unwrap();
    let mut second = Client::connect(broker.kafka()).unwrap();
    second.send(&MetadataRequest::default(), 12).unwrap();
    first.call(&MetadataRequest::default(), 12).unwrap();
    second.stream.set_nonblocking(true).unwrap();
    let unanswered = second.stream.peek(&mut [0]).unwrap_err();
    assert_eq!(unanswered.kind(), std::io::ErrorKind::WouldBlock);
    second.stream.set_nonblocking(false).unwrap();
    drop(first);
    second.receive::<MetadataRequest>(12).unwrap();
}

#[test]
fn a_connection_without_requests_is_closed_and_one_that_waits_is_not() {
    let (_folder, broker) = start(&["--connections-max-idle-ms", "300"]);
    let mut reader = Client::connect(broker.kafka()).unwrap();
    reader.auto_create("t").unwrap();
    let silent = TcpStream::connect(broker.kafka()).unwrap();
    // Three times as long as it may be idle, but it is not: the broker works for it.
    reader.send(&fetch_request("t", 0, 0, 900), 12).unwrap();
    wait_for_end(&silent);
    reader.receive::<FetchRequest>(12).unwrap();
    wait_for_end(&reader.stream);
    until(|| counter(&broker, "idle-connections") == 2);
}

#[test]
fn a_frame_that_never_ends_holds_up_no_other() {
    // A quarter of this is for the first parts of frames: one stuck client has it all.
    let (_folder, broker) = start(&["--request-memory", "64KiB"]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let mut stuck = TcpStream::connect(broker.kafka()).unwrap();
    stuck.write_all(&(50_i32 << 20).to_be_bytes()).unwrap();
    stuck.write_all(&request_head(ApiKey::Produce, 9)).unwrap();
    stuck.flush().unwrap();
    // Small requests need none of it.
    for number in 0..20 {
        let answer = client.produce("t", 0, &batch(&[format!("{number}")], None)).unwrap();
        assert_eq!(answer.error_code, ErrorCode::None);
    }
    // A large one does, and has it once the client that is stuck has left.
    let large = batch(&["x".repeat(30_000)], None);
    client.send(&produce_request("t", 0, large.as_bytes()), 9).unwrap();
    drop(stuck);
    let answer = client.receive::<millstream::kafka::messages::ProduceRequest>(9).unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].base_offset, 20);
}

#[test]
fn requests_one_behind_the_other_need_no_more_than_there_is() {
    let (_folder, broker) = start(&["--request-memory", "64KiB"]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    // Each takes all the memory there is; a frame larger than all of it is served as well.
    for _ in 0..5 {
        let large = batch(&["x".repeat(900_000)], None);
        client.send(&produce_request("t", 0, large.as_bytes()), 9).unwrap();
    }
    client.send(&ApiVersionsRequest::default(), 0).unwrap();
    for offset in 0..5 {
        let answer = client.receive::<millstream::kafka::messages::ProduceRequest>(9).unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, offset);
    }
    client.receive::<ApiVersionsRequest>(0).unwrap();
}

/// Open files that this process may have.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

#[test]
fn ten_thousand_idle_connections_cost_little_memory_and_no_service() {
    const MIB: usize = 1 << 20;
    let count = 10_000;
    if open_files() < count + 2_000 {
        println!("skipped: only {} files may be open here", open_files());
        return;
    }
    let (_folder, broker) = start(&["--max-connections", "10001"]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let before = resident_bytes(broker.pid());
    let idle: Vec<TcpStream> =
        (0..count).map(|_| TcpStream::connect(broker.kafka()).unwrap()).collect();
    // The last one is there when it is answered, and so are those before it.
    let mut last = Client::over(idle[count - 1].try_clone().unwrap()).unwrap();
    last.call(&MetadataRequest::default(), 12).unwrap();
    let answer = client.produce("t", 0, &batch(&["x".to_owned()], None)).unwrap();
    assert_eq!(answer.error_code, ErrorCode::None);
    let held = resident_bytes(broker.pid()).saturating_sub(before);
    assert!(held < 200 * MIB, "{held} bytes for {count} connections");
}

#[test]
fn a_stuck_consumer_under_full_load_costs_bounded_memory_and_disk() {
    const MIB: usize = 1 << 20;
    let seconds = std::env::var("MILLSTREAM_STUCK_SECONDS").map_or(4, |text| text.parse().unwrap());
    let args = ["--segment-size", "16MiB", "--tail-size", "16MiB", "--response-memory", "16MiB"];
    let (folder, broker) = start(&args);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.create_topic("t", &[("retention.bytes", "50000000"), ("retention.ms", "-1")]);
    let large = batch(&["x".repeat(500_000)], None);
    client.produce("t", 0, &large).unwrap();
    let mut stuck = Client::connect(broker.kafka()).unwrap();
    for _ in 0..20 {
        stuck.send(&fetch_request("t", 0, 0, 500), 12).unwrap();
    }
    let before = resident_bytes(broker.pid());
    let deadline = std::time::Instant::now() + Duration::from_secs(seconds);
    let (mut produced, mut memory, mut disk) = (0, 0, 0);
    while std::time::Instant::now() < deadline {
        for _ in 0..20 {
            let answer = client.produce("t", 0, &large).unwrap();
            assert_eq!(answer.error_code, ErrorCode::None);
            produced += large.len();
        }
        memory = memory.max(resident_bytes(broker.pid()).saturating_sub(before));
        disk = disk.max(disk_bytes(&folder.path().join("data")));
    }
    println!(
        "{seconds} s, {} MiB produced: memory {} MiB more, disk {} MiB",
        produced / MIB,
        memory / MIB,
        disk / MIB
    );
    assert!(memory < 300 * MIB, "{memory} bytes more than before");
    // What is kept, what waits to be removed and what the cleaner has not come to yet.
    assert!(disk < 1_500 * MIB, "{disk} bytes on disk, {produced} produced");
    drop(stuck);
}

/// Bytes on disk of all segments.
fn disk_bytes(data: &std::path::Path) -> usize {
    use std::os::unix::fs::MetadataExt;
    let files = std::fs::read_dir(data.join("segments")).unwrap();
    // One may be removed meanwhile.
    let blocks = files.map(|file| file.unwrap().metadata().map_or(0, |file| file.blocks()));
    usize::try_from(blocks.sum::<u64>() * 512).unwrap()
}

#[test]
fn consumers_that_take_nothing_hold_no_more_than_the_budget() {
    const MIB: usize = 1 << 20;
    // Nothing stays in the tail: each read is from disk and has memory of its own.
    let (_folder, broker) = start(&["--response-memory", "16MiB", "--tail-size", "64KiB"]);
    let mut client = Client::connect(broker.kafka()).unwrap();
    client.auto_create("t").unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..24 {
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(MIB - 1_000).collect();
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(1, None, Some(&noise), &[]).unwrap();
        let answer = client.produce("t", 0, &builder.build().unwrap()).unwrap();
        assert_eq!(answer.error_code, ErrorCode::None);
    }
    let before = resident_bytes(broker.pid());
    let all = |offset| {
        let mut request = fetch_request("t", 0, offset, 500);
        request.topics[0].partitions[0].partition_max_bytes = 50 << 20;
        request
    };
    // Together they would take 480 MB. Each asks again and again, so that its responses do not
    // just end up in the kernel.
    let stuck: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(broker.kafka()).unwrap();
            for _ in 0..12 {
                client.send(&all(0), 12).unwrap();
            }
            client
        })
        .collect();
    // Who takes what it asks for is served all the same: as memory gets short, those who take
    // nothing are closed.
    let mut offset = 0;
    while offset < 24 {
        let response = client.call(&all(offset), 12).unwrap();
        let partition = &response.responses[0].partitions[0];
        assert_eq!(partition.error_code, ErrorCode::None);
        let bytes: Bytes = partition.records.clone().unwrap().into_bytes();
        offset += i64::try_from(bytes.len() / (MIB - 2_000)).unwrap();
    }
    let held = resident_bytes(broker.pid()).saturating_sub(before);
    assert!(held < 160 * MIB, "{held} bytes more than before");
    until(|| counter(&broker, "slow-connections") > 0);
    drop(stuck);
}

#[test]
fn a_client_that_takes_no_metadata_gives_way_when_memory_is_short() {
    // One answer takes all the memory that there is.
    let args = ["--response-memory", "1MiB", "--default-partitions", "1000"];
    let (_folder, broker) = start(&args);
    let mut client = Client::connect(broker.kafka()).unwrap();
    for topic in 0..40 {
        client.auto_create(&format!("t{topic}")).unwrap();
    }
    let all = || MetadataRequest { topics: None, ..Default::default() };
    // More than the kernel holds for it.
    let mut stuck = Client::connect(broker.kafka()).unwrap();
    for _ in 0..30 {
        stuck.send(&all(), 12).unwrap();
    }
    until(|| {
        assert_eq!(client.call(&all(), 12).unwrap().topics.len(), 40);
        counter(&broker, "slow-connections") == 1
    });
}
