//! Every cap and default of the product, with its unit and its reason.

/// Longest topic, pipeline or plugin name, bytes. Kafka's own bound.
pub const NAME_BYTES: usize = 249;
/// Longest group id, bytes. Kafka's wire strings end here.
pub const GROUP_ID_BYTES: usize = i16::MAX as usize;

/// Largest request frame, bytes; Kafka's `socket.request.max.bytes`.
pub const FRAME_BYTES: usize = 100 * MIB;
/// How much of a frame is allocated ahead of the bytes that have arrived.
pub const FRAME_READ_AHEAD_BYTES: usize = 64 * KIB;
/// Size up to which a frame's memory is its connection's own, bytes; larger ones share
/// [`REQUEST_BYTES_IN_FLIGHT`].
pub const FRAME_OWN_BYTES: usize = 16 * KIB;
/// First part of a frame, bytes; memory for the rest is taken when that part is there.
pub const FRAME_PART_BYTES: usize = MIB;
/// Longest that a frame may take to arrive once its size has, or the body of a deployment,
/// milliseconds; a frame has [`FRAME_RATE_BYTES`] more for each second beyond.
pub const FRAME_READ_MS: u64 = 30_000;
/// Slowest that a frame may arrive, bytes a second.
pub const FRAME_RATE_BYTES: usize = 64 * KIB;
/// Longest that a client may take nothing of a response that is being sent, milliseconds.
pub const WRITE_MS: u64 = 60_000;
/// How long connections have to finish what they have begun when the broker stops, milliseconds.
pub const SHUTDOWN_MS: u64 = 5_000;
/// Connections at the Kafka port at one time.
pub const CONNECTIONS: usize = 10_000;
/// How long nothing may happen on a connection before it is closed, milliseconds; Kafka's
/// `connections.max.idle.ms`.
pub const CONNECTION_IDLE_MS: u64 = 600_000;
/// Produce requests of one connection that may wait for durability while the next is read.
/// Clients keep at most five in flight.
pub const CONNECTION_PIPELINE_REQUESTS: usize = 8;
/// Bytes of request frames held for all connections at one time.
pub const REQUEST_BYTES_IN_FLIGHT: usize = 256 * MIB;

/// Memory that the arrays of one Kafka message take, bytes, beside the frame that they borrow
/// from: room for 200,000 partitions. A one-byte element costs 32 bytes of memory.
pub const MESSAGE_ARRAY_BYTES: usize = 16 * MIB;
/// Record bytes up to this many are copied into a response; more are sent from where they are.
pub const SEND_COPY_BYTES: usize = 512;

/// Largest record batch of a topic without a `max.message.bytes`, bytes; Kafka's default: 1 MiB
/// and a log overhead of 12 bytes.
pub const BATCH_BYTES: usize = MIB + 12;
/// Largest record batch whatever a topic's `max.message.bytes`, bytes. It is a value in a segment
/// and in memory, whole.
pub const BATCH_BYTES_MAX: usize = 32 * MIB;
/// Most that one batch may hold after decompression, bytes.
pub const BATCH_DECOMPRESSED_BYTES: usize = 64 * MIB;
/// Records of a batch that are checked where their request is read, bytes; larger batches go to
/// threads of their own, one for each processor at a time, so that other connections do not wait.
/// Takes a tenth of a millisecond.
pub const CHECK_AT_ONCE_BYTES: usize = 128 * KIB;
/// The same of a batch that gets another codec; compressing is slower by far.
pub const RECOMPRESS_AT_ONCE_BYTES: usize = 4 * KIB;
/// Most records in one batch.
pub const BATCH_RECORDS: usize = 1_000_000;
/// Refused records of one batch that a producer is told one by one (KIP-467).
pub const REFUSED_RECORDS: usize = 1_000;
/// Most headers on one record.
pub const RECORD_HEADERS: usize = 10_000;

/// Size at which a segment is sealed, bytes. Recovery after a crash reads at most this much, which
/// is to take less than a second: cold, two busy cores read 256 MiB in about 0.6 s, 512 in 1.0 s.
pub const SEGMENT_BYTES: u64 = 256 * MIB as u64;
/// Least size of a segment; smaller ones serve tests.
pub const SEGMENT_BYTES_MIN: u64 = 64 * KIB as u64;
/// Size of the redo file, bytes. Half of it, 1,024 of the smallest groups, is written to the
/// segment while the other half fills; that much memory holds what is not written yet.
pub const REDO_BYTES: u64 = 8 * MIB as u64;
/// Least size of the redo file; small ones serve tests.
pub const REDO_BYTES_MIN: u64 = 32 * KIB as u64;
/// A group that goes through the redo file, bytes at most. Of a larger one the disk's bandwidth is
/// the cost, and writing it twice doubles it.
pub const REDO_GROUP_BYTES: usize = 256 * KIB;
/// The same of a group of many chunks, bytes a chunk: there a transaction's pages are the cost.
pub const REDO_CHUNK_BYTES: usize = 16 * KIB;
/// Largest chunk, bytes, unless a single batch is larger.
pub const CHUNK_BYTES: usize = MIB;
/// Bytes on disk of a run, the stretch of a partition that retention, moving and compaction take
/// at once and that a lookup by time reads; the index of them takes 80 bytes of memory each.
pub const RUN_BYTES: u64 = CHUNK_BYTES as u64;
/// Longest time between the first and the last timestamp of a run that is not very small,
/// milliseconds: what comes in drops expires by the hour.
pub const RUN_SPAN_MS: i64 = 3_600_000;
/// Keys that one pass of compaction keeps in mind, about 40 bytes each; further ones wait for
/// another pass.
pub const COMPACTION_KEYS: usize = 1_000_000;
/// How often retention and the need for cleaning are looked at, milliseconds.
pub const CLEAN_ROUND_MS: u64 = 1_000;
/// How long records are kept at least, whatever their timestamps, milliseconds, unless
/// `retention.ms` is less; Kafka's `log.retention.check.interval.ms`.
pub const RETENTION_LEAST_MS: u64 = 300_000;
/// What moving and compaction write at most, bytes per second.
pub const CLEAN_BYTES_PER_SECOND: u64 = 64 * MIB as u64;
/// Age below which an active segment is not sealed for the sake of cleaning, milliseconds,
/// whatever `segment.ms` says.
pub const SEGMENT_AGE_MIN_MS: u64 = 2_000;
/// Sealed segments smaller than an eighth of the size; beyond so many the smallest is moved into
/// the active one.
pub const SMALL_SEGMENTS: usize = 8;
/// Sealed segments kept open for reading.
pub const OPEN_SEGMENTS: usize = 16;
/// redb's page cache for the active segment and for meta, bytes each.
pub const SEGMENT_CACHE_BYTES: usize = 32 * MIB;
/// How long effects may wait in memory for `meta.redb`, milliseconds. They are durable in the
/// journal all the while; this bounds the replay after a crash.
pub const META_FLUSH_MS: u64 = 1_000;
/// Most bytes of effects that may wait for `meta.redb`.
pub const META_PENDING_BYTES: usize = 16 * MIB;

/// Lookups by time at one time. Each may hold a decompressed batch.
pub const LOOKUPS: usize = 16;
/// Unreadable places on disk that are told one by one.
pub const UNREADABLE_PLACES: usize = 1_000;

/// What records must leave free of the disk, bytes: room for a group that is under way, for
/// `meta.redb`, and for moving what lives out of a segment.
pub const MIN_FREE_BYTES: u64 = 64 * MIB as u64;
/// How long no write is tried after one that failed, milliseconds; doubled as long as they fail.
pub const OUTAGE_MS: u64 = 1_000;
/// Longest such time, milliseconds.
pub const OUTAGE_MS_MAX: u64 = 10_000;

/// Commits waiting for the committer.
pub const COMMIT_QUEUE: usize = 10_000;
/// Bytes of record batches waiting for the committer.
pub const COMMIT_QUEUE_BYTES: usize = 64 * MIB;
/// Bytes of record batches in one group.
pub const GROUP_BYTES: usize = 8 * MIB;
/// Recent chunks kept in memory, bytes, over all partitions.
pub const TAIL_BYTES: usize = 64 * MIB;
/// Least memory that a budget may be set to, bytes; smaller ones serve nobody.
pub const MEMORY_BYTES_MIN: usize = 64 * KIB;
/// Records and long answers on their way to clients, bytes over all connections: made for them and
/// not yet taken.
pub const RESPONSE_BYTES_IN_FLIGHT: usize = 512 * MIB;
/// Least memory that a fetch asks for, bytes: a usual batch.
pub const READ_GRANT_BYTES: usize = MIB;
/// How long a client may take nothing of a response while others wait for the memory that it
/// holds, milliseconds.
pub const WRITE_SHORT_MS: u64 = 5_000;
/// Answers without records that are made at one time, of APIs whose answers may be long; also those
/// that are made and wait for memory.
pub const LONG_ANSWERS: usize = 8;
/// Size up to which an answer's memory is its connection's own, bytes; longer ones share
/// [`RESPONSE_BYTES_IN_FLIGHT`] with records.
pub const ANSWER_OWN_BYTES: usize = 16 * KIB;
/// Bytes that one fetch returns at most, whatever the client asks for. Clients ask for 50 MiB.
pub const FETCH_BYTES: usize = 64 * MIB;
/// With less than so many bytes left in its budget, a fetch reads no further partition.
pub const FETCH_REST_BYTES: usize = 16 * KIB;
/// Fetch sessions of all clients (KIP-227); Kafka's
/// `max.incremental.fetch.session.cache.slots`. Who gets none names its partitions each time.
pub const FETCH_SESSIONS: usize = 1_000;
/// Partitions of all fetch sessions together; one takes about 250 bytes of memory.
pub const FETCH_SESSION_PARTITIONS: usize = 500_000;
/// How long a fetch session is left alone before it gives way to a new one, milliseconds; Kafka's
/// two minutes.
pub const FETCH_SESSION_IDLE_MS: u64 = 120_000;
/// Partitions that all fetches without a session wait for at one time; a fetch beyond waits for
/// its time alone.
pub const FETCH_WATCHED_PARTITIONS: usize = 1_000_000;
/// Longest that a fetch waits, milliseconds.
pub const FETCH_WAIT_MS: u64 = 300_000;

/// Topics in one broker.
pub const TOPICS: usize = 10_000;
/// Partitions of one topic.
pub const PARTITIONS: i32 = 1_000;
/// Partitions that one answer to DescribeTopicPartitions lists; Kafka's
/// `max.request.partition.size.limit`.
pub const DESCRIBED_PARTITIONS: i32 = 2_000;
/// Partitions of a topic that a client makes by producing to it; Kafka's `num.partitions`.
pub const DEFAULT_PARTITIONS: i32 = 1;
/// How long a topic keeps records without a word of its own, hours; Kafka's
/// `log.retention.hours`.
pub const RETENTION_HOURS: i64 = 168;
/// How long a silent producer is remembered, milliseconds; Kafka's `producer.id.expiration.ms`.
pub const PRODUCER_EXPIRATION_MS: i64 = 86_400_000;
/// How long the offsets of an empty group are kept, minutes; Kafka's `offsets.retention.minutes`.
pub const OFFSETS_RETENTION_MINUTES: i64 = 10_080;
/// Producers remembered for one partition; the longest silent one is forgotten beyond.
pub const PRODUCERS: usize = 10_000;
/// Batches remembered for each producer and partition (KIP-98: five in flight).
pub const PRODUCER_BATCHES: usize = 5;

/// Groups with settings of their own.
pub const CONFIGURED_GROUPS: usize = 1_000;
/// Groups in one broker.
pub const GROUPS: usize = 10_000;
/// Members of one group.
pub const GROUP_MEMBERS: usize = 1_000;
/// Bytes of subscription metadata and assignments of one member.
pub const MEMBER_METADATA_BYTES: usize = MIB;
/// Bounds of a member's session timeout, milliseconds; Kafka's `group.min.session.timeout.ms` and
/// `group.max.session.timeout.ms`.
pub const SESSION_TIMEOUT_MS: std::ops::RangeInclusive<i32> = 6_000..=1_800_000;
/// How long an empty group waits for further members before its first rebalance, milliseconds.
/// Kafka waits 3,000 by default, which every lone consumer pays at its start.
pub const GROUP_INITIAL_REBALANCE_DELAY_MS: u64 = 200;
/// Least time that a group waits for its members to join, milliseconds; less is raised to this, so
/// that a group cannot rebalance without a pause.
pub const GROUP_REBALANCE_TIMEOUT_MIN_MS: u64 = 100;
/// How long a join of a new member is believed in, milliseconds; nothing tells whether its client
/// is still there. Kafka's five minutes.
pub const GROUP_NEW_MEMBER_JOIN_MS: u64 = 300_000;
/// Bytes of the client or instance id that go into a member id; the whole is a wire string.
pub const MEMBER_ID_PREFIX_BYTES: usize = 1_024;
/// Memory of all groups' members and assignments together, bytes.
pub const GROUPS_BYTES: usize = 256 * MIB;
/// Memory of the committed offsets of all groups together, bytes.
pub const OFFSETS_BYTES: usize = 256 * MIB;
/// Longest commit metadata, bytes; Kafka's `offset.metadata.max.bytes`.
pub const OFFSET_METADATA_BYTES: usize = 4_096;

/// How often is looked for offsets and producers that have expired, milliseconds; Kafka's
/// `offsets.retention.check.interval.ms`. Also the time that a group has to come back after a
/// restart.
pub const EXPIRY_CHECK_MS: u64 = 600_000;
/// Producers that one commit forgets at most.
pub const EXPIRY_PRODUCERS: usize = 10_000;

/// Linear memory of one plugin instance, bytes. Go runs in 16 MiB, JavaScript in 90.
pub const PLUGIN_MEMORY_BYTES: usize = 128 * MIB;
/// Most linear memory that a step may be given, bytes; the size of a slot in the instance pool.
pub const PLUGIN_MEMORY_BYTES_MAX: usize = 1024 * MIB;
/// Share of its memory limit, percent, past which an instance is replaced between two batches.
/// Some toolchains leak a few bytes with every call.
pub const PLUGIN_MEMORY_MARK_PERCENT: usize = 87;
/// Table elements of one plugin instance.
pub const PLUGIN_TABLE_ELEMENTS: usize = 100_000;
/// Stack of one plugin call, bytes; a quarter of what a tokio thread has.
pub const PLUGIN_STACK_BYTES: usize = 512 * KIB;
/// Core instances, tables and memories that one component may be composed of. Python's are of
/// about 20 core instances, JavaScript's have 3 memories.
pub const PLUGIN_CORE_INSTANCES: u32 = 64;
/// See [`PLUGIN_CORE_INSTANCES`].
pub const PLUGIN_TABLES: u32 = 32;
/// See [`PLUGIN_CORE_INSTANCES`].
pub const PLUGIN_MEMORIES: u32 = 8;
/// Bookkeeping of one plugin instance on the host's side, bytes: globals, functions, imports.
pub const PLUGIN_INSTANCE_BYTES: usize = 8 * MIB;
/// Resource handles of one plugin instance. The contract has no resources; what is left are a
/// component's own.
pub const PLUGIN_HANDLES: usize = 1_000;
/// Time of one plugin call, milliseconds.
pub const PLUGIN_CALL_MS: u64 = 1_000;
/// Most time that a step may be given for one call, milliseconds. A pipeline stops no faster.
pub const PLUGIN_CALL_MS_MAX: u64 = 10_000;
/// Records of one call of a processor; more save nothing.
pub const PLUGIN_PACKED_RECORDS: usize = 1_024;
/// Bytes of records after which such a call is closed; one record may be larger.
pub const PLUGIN_PACKED_BYTES: usize = MIB;
/// Time of such a call of several records, milliseconds, if a step gives its calls no less. There
/// are as many records as take a tenth of it.
pub const PLUGIN_PACKED_CALL_MS: u64 = 200;
/// Period of the clock that ends overlong plugin calls, milliseconds.
pub const PLUGIN_TICK_MS: u64 = 10;
/// Time after which a plugin's batch is handed back as far as it has come, milliseconds.
pub const PLUGIN_BATCH_MS: u64 = 1_000;
/// Largest component unless a step says otherwise, bytes.
pub const COMPONENT_BYTES: usize = 32 * MIB;
/// Largest component whatever a step says, bytes. Compiling takes many times as much memory.
pub const COMPONENT_BYTES_MAX: usize = 64 * MIB;
/// Components in components, that deep. Toolchains come to 3.
pub const PLUGIN_COMPONENT_DEPTH: usize = 32;
/// Types that are declared in types, in one section of a component. Toolchains come to 1.
pub const PLUGIN_NESTED_TYPES: usize = 200;
/// Compiled components that are kept, bytes; JavaScript's and Python's have 33 million each.
pub const PLUGIN_CACHE_BYTES: u64 = 512 * MIB as u64;
/// Largest compiled component that is kept, bytes.
pub const PLUGIN_COMPILED_BYTES: usize = 256 * MIB;
/// Share of the processors that compiles plugins, percent; the rest serves clients meanwhile. One
/// processor at least.
pub const PLUGIN_COMPILE_PERCENT: usize = 50;
/// Processor time that compiling one component may take in a broker, seconds. Python takes 4.
pub const PLUGIN_COMPILE_CPU_SECONDS: u64 = 60;
/// How long that may last on a machine that has others to serve, milliseconds.
pub const PLUGIN_COMPILE_MS: u64 = 600_000;
/// Address space that it may take, bytes.
pub const PLUGIN_COMPILE_BYTES: u64 = 3 * 1024 * MIB as u64;
/// Output records, or names of outputs, of one input record.
pub const PLUGIN_OUTPUT_RECORDS: usize = 10_000;
/// Output bytes of one input record. A batch is handed back as soon as it has made as many.
pub const PLUGIN_OUTPUT_BYTES: usize = 16 * MIB;
/// Longest error text taken from a plugin, bytes. Part of the contract in `wit/`.
pub const PLUGIN_ERROR_BYTES: usize = 4 * KIB;
/// Longest log line taken from a plugin, bytes. Part of the contract in `wit/`.
pub const PLUGIN_LOG_BYTES: usize = 4 * KIB;
/// Log lines taken from one plugin call. Part of the contract in `wit/`.
pub const PLUGIN_LOG_LINES: usize = 100;
/// Log text taken from one step's instances for one source partition in a second, bytes: a plugin
/// must not fill the disk with its log.
pub const PLUGIN_LOG_BYTES_PER_SECOND: usize = 256 * KIB;
/// Random bytes that a plugin is given at once.
pub const WASI_RANDOM_BYTES: usize = 64 * KIB;
/// Bytes that a plugin is told it may write to an output at once.
pub const WASI_WRITE_BYTES: u64 = 64 * KIB as u64;
/// Plugin instances of one broker; also the size of the instance pool.
pub const PLUGIN_INSTANCES: u32 = 1_000;

/// Largest manifest, bytes.
pub const MANIFEST_BYTES: usize = MIB;
/// Mistakes of one manifest that are told one by one; the rest is only counted.
pub const MANIFEST_PROBLEMS: usize = 100;
/// Pipelines in one broker.
pub const PIPELINES: usize = 1_000;
/// Steps of one pipeline.
pub const PIPELINE_STEPS: usize = 100;
/// What a manifest may give a step's instance, mebibytes of memory; without a word it is
/// [`PLUGIN_MEMORY_BYTES`].
pub const STEP_MEMORY_MIB: std::ops::RangeInclusive<i64> = 1..=1_024;
/// What a manifest may give a step's call, milliseconds; without a word it is [`PLUGIN_CALL_MS`].
pub const STEP_CALL_MS: std::ops::RangeInclusive<i64> = 1..=PLUGIN_CALL_MS_MAX as i64;
/// What a manifest may let a step make of one record; without a word it is
/// [`PLUGIN_OUTPUT_RECORDS`].
pub const STEP_OUTPUT_RECORDS_RANGE: std::ops::RangeInclusive<i64> = 1..=STEP_OUTPUT_RECORDS as i64;
/// What a manifest may let a step make of one record, kibibytes; without a word it is
/// [`PLUGIN_OUTPUT_BYTES`].
pub const STEP_OUTPUT_KIB: std::ops::RangeInclusive<i64> = 1..=(STEP_OUTPUT_BYTES / KIB) as i64;
/// How large a manifest may let a step's component be, mebibytes; without a word it is
/// [`COMPONENT_BYTES`].
pub const STEP_COMPONENT_MIB: std::ops::RangeInclusive<i64> =
    1..=(COMPONENT_BYTES_MAX / MIB) as i64;
/// How often a step with `on-error = "retry"` may try a record again.
pub const RETRY_ATTEMPTS: std::ops::RangeInclusive<i64> = 1..=100;
/// How often it does without a word in the manifest.
pub const RETRY_ATTEMPTS_DEFAULT: u32 = 5;
/// Wait before the first of these attempts, milliseconds; each further wait is twice as long.
pub const RETRY_BACKOFF_MS: std::ops::RangeInclusive<i64> = 1..=60_000;
/// The wait without a word in the manifest.
pub const RETRY_BACKOFF_MS_DEFAULT: u64 = 100;
/// Longest wait between two attempts, milliseconds.
pub const RETRY_BACKOFF_MS_MAX: u64 = 60_000;
/// Records that a pipeline takes in one batch.
pub const PIPELINE_BATCH_RECORDS: usize = 10_000;
/// Bytes that a pipeline reads in one batch.
pub const PIPELINE_BATCH_BYTES: usize = MIB;
/// Bytes of records in one batch that a pipeline writes; below [`BATCH_BYTES`].
pub const PIPELINE_OUTPUT_BATCH_BYTES: usize = 512 * KIB;

/// Bytes of output records at which a pipeline's batch is cut, so that it stays one commit; a
/// single source record may make more.
pub const PIPELINE_COMMIT_BYTES: usize = 16 * MIB;
/// Bytes and records that one step may make of one source record; a chain of plugins could
/// otherwise multiply what each alone may make.
pub const STEP_OUTPUT_BYTES: usize = PLUGIN_OUTPUT_BYTES;
/// See [`STEP_OUTPUT_BYTES`].
pub const STEP_OUTPUT_RECORDS: usize = 100_000;
/// Commits of one pipeline and source partition under way at one time: one becomes durable while
/// the next is made.
pub const PIPELINE_COMMITS_IN_FLIGHT: usize = 2;
/// Wait before a pipeline starts again after something around it failed, milliseconds; doubled
/// each time.
pub const PIPELINE_RESTART_MS: u64 = 100;
/// Longest such wait, milliseconds.
pub const PIPELINE_RESTART_MS_MAX: u64 = 30_000;
/// Failed records of one batch that are logged one by one; the rest is counted.
pub const PIPELINE_FAILURES_LOGGED: usize = 10;
/// Failed records that a watcher may be behind, before it misses some.
pub const PIPELINE_FAILURES_TOLD: usize = 256;

/// Body of one HTTP request, bytes: a manifest and its components in base64.
pub const HTTP_BODY_BYTES: usize = 256 * MIB;
/// Body of one HTTP request that brings no components, bytes.
pub const HTTP_PRODUCE_BYTES: usize = 16 * MIB;
/// Records of one HTTP produce or consume.
pub const HTTP_RECORDS: usize = 10_000;
/// Bytes of records in one HTTP answer; a single record may be larger.
pub const HTTP_RESPONSE_BYTES: usize = 4 * MIB;
/// Bytes at which an HTTP produce begins a further batch; below [`BATCH_BYTES`].
pub const HTTP_BATCH_BYTES: usize = 512 * KIB;
/// Longest that an HTTP consume waits for records, milliseconds.
pub const HTTP_WAIT_MS: u64 = 30_000;
/// Connections at the HTTP port at one time.
pub const HTTP_CONNECTIONS: usize = 256;
/// How long everything together may take to finish when the broker stops, milliseconds: the
/// connections have [`SHUTDOWN_MS`], a plugin the time of its call.
pub const STOP_MS: u64 = 15_000;

/// Answer that a command reads, bytes: records in base64 with their JSON around them.
pub const CLIENT_ANSWER_BYTES: u64 = 256 * MIB as u64;
/// Records that `produce` and `dev` send in one batch.
pub const FEED_RECORDS: usize = 1_000;
/// Bytes of lines after which they send a batch.
pub const FEED_BYTES: usize = MIB;
/// Records that `plugin bench` holds and offers over and over.
pub const BENCH_RECORDS: usize = 10_000;
/// Bytes of their values after which it takes no more.
pub const BENCH_BYTES: usize = 16 * MIB;
/// Longest line of an input, bytes: what fits in a batch.
pub const LINE_BYTES: usize = BATCH_BYTES;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

const _: () = {
    assert!(BATCH_BYTES <= BATCH_BYTES_MAX);
    assert!(BATCH_BYTES_MAX < FRAME_BYTES);
    assert!(BATCH_BYTES_MAX <= BATCH_DECOMPRESSED_BYTES);
    assert!(BATCH_BYTES_MAX <= COMMIT_QUEUE_BYTES);
    assert!(BATCH_BYTES_MAX <= FETCH_BYTES);
    assert!(FRAME_BYTES <= REQUEST_BYTES_IN_FLIGHT / 4 * 3);
    assert!(FRAME_OWN_BYTES < FRAME_PART_BYTES);
    assert!(FRAME_PART_BYTES <= REQUEST_BYTES_IN_FLIGHT / 4);
    assert!(PIPELINE_OUTPUT_BATCH_BYTES < BATCH_BYTES);
    assert!(PIPELINE_COMMIT_BYTES + STEP_OUTPUT_BYTES <= COMMIT_QUEUE_BYTES);
    assert!(PRODUCER_BATCHES <= CONNECTION_PIPELINE_REQUESTS);
    assert!(MEMBER_METADATA_BYTES <= GROUPS_BYTES);
    assert!(MEMBER_ID_PREFIX_BYTES < GROUP_ID_BYTES);
    assert!(PLUGIN_TICK_MS < PLUGIN_CALL_MS);
    assert!(PLUGIN_CALL_MS <= PLUGIN_CALL_MS_MAX);
    assert!(PLUGIN_PACKED_CALL_MS <= PLUGIN_CALL_MS);
    assert!(PLUGIN_MEMORY_BYTES <= PLUGIN_MEMORY_BYTES_MAX);
    assert!(PLUGIN_MEMORY_MARK_PERCENT < 100);
    assert!(COMPONENT_BYTES <= COMPONENT_BYTES_MAX);
    assert!(COMPONENT_BYTES_MAX / 3 * 4 < HTTP_BODY_BYTES);
    assert!(PLUGIN_COMPILED_BYTES as u64 <= PLUGIN_CACHE_BYTES);
    assert!(SEGMENT_BYTES_MIN < SEGMENT_BYTES);
    assert!(REDO_GROUP_BYTES as u64 <= REDO_BYTES / 2);
    assert!(GROUP_BYTES as u64 + BATCH_BYTES_MAX as u64 <= MIN_FREE_BYTES);
    assert!(HTTP_BATCH_BYTES < BATCH_BYTES);
    assert!(HTTP_PRODUCE_BYTES <= HTTP_BODY_BYTES);
    assert!(HTTP_PRODUCE_BYTES <= COMMIT_QUEUE_BYTES);
    assert!(FEED_RECORDS <= HTTP_RECORDS);
    assert!(SHUTDOWN_MS + PLUGIN_CALL_MS < STOP_MS);
    assert!(PLUGIN_CALL_MS_MAX + PLUGIN_PACKED_CALL_MS < STOP_MS);
};
