"""Kafka's own console tools, kcat, and kafkatop, which watches lag: each test is a short session whose output is looked at."""

import re
import secrets
import shutil
import stat
import sys

from install import run_command
from suite import Job, Outcome, run_for

COMMAND_SECONDS = 60
KAFKATOP = "kafkatop==1.16"
# The scripts that Kafka's distribution has for them, which other suites call.
CLASSES = {
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-features": "org.apache.kafka.tools.FeatureCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-groups": "org.apache.kafka.tools.GroupsCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
    "kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "kafka-verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
}
SCRIPT = """#!/bin/sh
exec java -XX:TieredStopAtLevel=1 -Xmx256m -cp '{libs}/*' {name} "$@"
"""


def prepare(cache):
    """The jars, and `bin/NAME.sh` for each tool, as Kafka's distribution has them."""
    if not (cache / "libs").exists():
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copy(__file__.replace("tools.py", "pom.xml"), cache)
        run_command(
            ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=making"], cache
        )
        (cache / "making").rename(cache / "libs")
    (cache / "bin").mkdir(exist_ok=True)
    for tool, name in CLASSES.items():
        script = cache / "bin" / f"{tool}.sh"
        script.write_text(SCRIPT.format(libs=cache / "libs", name=name))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    if not (cache / "venv/bin/kafkatop").exists():
        run_command([sys.executable, "-m", "venv", "venv"], cache)
        run_command(["venv/bin/pip", "install", "-q", KAFKATOP], cache)
    if not shutil.which("kcat"):
        run_command(["apt-get", "update"], cache)
        run_command(["apt-get", "install", "-y", "--no-install-recommends", "kcat"], cache)


def jobs(_cache, _fast):
    return [Job(name, (name,)) for name in SESSIONS]


def run(cache, job, bootstrap, folder):
    session = Session(cache, bootstrap, folder)
    try:
        SESSIONS[job.name](session)
    except Failed as error:
        return [Outcome(job.name, "fail", str(error))]
    return [Outcome(job.name, "pass")]


class Failed(Exception):
    """An output was not as it must be."""


class Session:
    """Runs tools against one broker, in one folder, under names of its own."""

    def __init__(self, cache, bootstrap, folder):
        self.cache, self.bootstrap, self.folder = cache, bootstrap, folder
        self.topic = f"tools-{secrets.token_hex(4)}"
        self.group = f"{self.topic}-group"
        self.count = 0

    def tool(self, name, *args, expect=(), refuse=("Exception",), status=0):
        """Runs a tool; its output must have all that is expected, nothing that is refused."""
        script = self.cache / "bin" / f"kafka-{name}.sh"
        return self.command(
            name, [script, "--bootstrap-server", self.bootstrap, *args], expect, refuse, status
        )

    def shell(self, line, expect=(), refuse=("Exception",), status=0):
        """The same for a shell line, in which BIN and BROKER stand for these."""
        line = line.replace("BIN", str(self.cache / "bin")).replace("BROKER", self.bootstrap)
        return self.command("shell", ["sh", "-c", line], expect, refuse, status)

    def command(self, name, command, expect, refuse, status):
        self.count += 1
        log = self.folder / f"{self.count:02}-{name}"
        done = run_for(COMMAND_SECONDS, command, self.folder, log=log)
        said = " ".join(str(part).rsplit("/", 1)[-1] for part in command)
        if done.status is None:
            raise Failed(f"{said}: still running after {COMMAND_SECONDS} s")
        for pattern in refuse:
            if found := re.search(f".*{pattern}.*", done.output):
                raise Failed(f"{said}: {found.group(0)[:300]}")
        for pattern in expect:
            if not re.search(pattern, done.output, re.MULTILINE):
                raise Failed(f"{said}: no {pattern!r} in {done.output[:400]!r}")
        if done.status != status:
            raise Failed(f"{said}: exit {done.status}: {done.output[:300]!r}")
        return done.output

    def create(self, partitions=1, *more):
        args = ["--create", "--topic", self.topic, "--partitions", partitions, *more]
        self.tool("topics", *map(str, args), expect=["Created topic"])

    def produce(self, count, key=True):
        keyed = "--reader-property parse.key=true --reader-property key.separator=:" if key else ""
        self.shell(
            f"for i in $(seq {count}); do echo k$i:v$i; done | BIN/kafka-console-producer.sh"
            f" --bootstrap-server BROKER --topic {self.topic} {keyed}"
        )

    def consume(self, count, *more):
        return self.tool(
            "console-consumer", "--topic", self.topic, "--from-beginning", "--max-messages",
            str(count), "--timeout-ms", "20000", *more, expect=[f"total of {count} messages"],
        )


def topics(s):
    s.create(3, "--config", "retention.ms=86400000", "--config", "max.message.bytes=2000000")
    s.tool("topics", "--list", expect=[f"^{s.topic}$"])
    s.tool(
        "topics", "--describe", "--topic", s.topic,
        expect=[r"PartitionCount: 3\s+ReplicationFactor: 1", "retention.ms=86400000",
                r"Partition: 2\s+Leader: (\d+)\s+Replicas: \1\s+Isr: \1"],
    )
    s.tool("topics", "--create", "--topic", s.topic, refuse=(), status=1, expect=["already exists"])
    s.tool("topics", "--create", "--if-not-exists", "--topic", s.topic)
    s.tool("topics", "--alter", "--topic", s.topic, "--partitions", "5")
    s.tool("topics", "--describe", "--topic", s.topic, expect=["PartitionCount: 5"])
    s.tool(
        "topics", "--alter", "--topic", s.topic, "--partitions", "2", refuse=(), status=1,
        expect=["has 5 partition"],
    )
    for which in ("under-replicated", "unavailable", "under-min-isr", "at-min-isr"):
        s.tool("topics", "--describe", f"--{which}-partitions", refuse=("Exception",))
    s.tool("topics", "--delete", "--topic", s.topic)
    if re.search(f"^{s.topic}$", s.tool("topics", "--list"), re.MULTILINE):
        raise Failed("the topic is still listed")


def topic_configs(s):
    s.create(1, "--config", "retention.ms=86400000")
    topic = ("--entity-type", "topics", "--entity-name", s.topic)
    s.tool(
        "configs", "--describe", *topic,
        expect=["retention.ms=86400000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:"],
    )
    s.tool(
        "configs", "--describe", "--all", *topic,
        expect=["cleanup.policy=delete .*DEFAULT_CONFIG:log.cleanup.policy=delete",
                "min.insync.replicas=1 ", "message.timestamp.type=CreateTime ",
                "compression.type=producer "],
    )
    change = "retention.bytes=1000000,cleanup.policy=[compact,delete]"
    s.tool("configs", "--alter", *topic, "--add-config", change, expect=["Completed updating"])
    s.tool(
        "configs", "--describe", *topic,
        expect=["cleanup.policy=compact,delete ", "retention.bytes=1000000 ", "retention.ms="],
    )
    s.tool(
        "configs", "--alter", *topic, "--delete-config", "retention.ms", expect=["Completed"]
    )
    said = s.tool("configs", "--describe", *topic, expect=["retention.bytes=1000000 "])
    if "retention.ms=86400000" in said:
        raise Failed("a deleted setting is still there")
    s.tool(
        "configs", "--alter", *topic, "--add-config", "retention.ms=never", refuse=(), status=1,
        expect=["InvalidConfigurationException"],
    )
    s.tool(
        "configs", "--alter", *topic, "--add-config", "no.such.setting=1", refuse=(), status=1,
        expect=["InvalidConfigurationException|Unknown topic config"],
    )


def broker_configs(s):
    s.tool("configs", "--describe", "--entity-type", "brokers", expect=["Dynamic configs for"])
    s.tool(
        "configs", "--describe", "--all", "--entity-type", "brokers", "--entity-name", "1",
        expect=["log.retention.ms=|log.retention.hours=168", "num.partitions=",
                "offsets.retention.minutes=", "auto.create.topics.enable=", "message.max.bytes="],
    )


def console(s):
    s.create(2)
    s.produce(50)
    s.consume(50, "--formatter-property", "print.key=true", "--formatter-property",
              "print.timestamp=true", "--formatter-property", "print.offset=true")
    s.shell(
        f"seq 20 | BIN/kafka-console-producer.sh --bootstrap-server BROKER --topic {s.topic}"
        " --compression-codec zstd --request-required-acks all"
    )
    s.consume(70, "--isolation-level", "read_committed")


def get_offsets(s):
    s.create(2)
    s.produce(40, key=False)
    sums = lambda text: sum(int(line.rsplit(":", 1)[1]) for line in text.split() if ":" in line)
    topic = ("--topic", s.topic)
    if sums(s.tool("get-offsets", *topic)) != 40:
        raise Failed("the latest offsets are not 40 in all")
    for time, expected in (("-1", 40), ("latest", 40), ("-2", 0), ("earliest", 0)):
        if sums(s.tool("get-offsets", *topic, "--time", time)) != expected:
            raise Failed(f"the offsets at {time} are not {expected} in all")
    s.tool("get-offsets", *topic, "--time", "max-timestamp", expect=[f"^{s.topic}:\\d:\\d+$"])
    if sums(s.tool("get-offsets", *topic, "--time", "1000")) != 0:
        raise Failed("the offsets after the first second are not the first")
    s.tool("get-offsets", "--topic-partitions", f"{s.topic}:1", expect=[f"^{s.topic}:1:"])
    s.tool("get-offsets", *topic, "--time", "earliest-local", expect=[f"^{s.topic}:0:0$"])


def consumer_groups(s):
    s.create(2)
    s.produce(30)
    s.consume(30, "--group", s.group)
    group = ("--group", s.group)
    s.tool("consumer-groups", "--list", expect=[f"^{s.group}$"])
    s.tool("consumer-groups", "--list", "--state", expect=[f"^{s.group}\\s+Empty"])
    s.tool("consumer-groups", "--list", "--type", expect=[f"^{s.group}\\s+Classic"])
    s.tool("consumer-groups", "--list", "--state", "stable", refuse=("Exception", s.group))
    s.tool(
        "consumer-groups", "--describe", *group,
        expect=["has no active members", f"{s.group}\\s+{s.topic}\\s+[01]\\s+\\d+\\s+\\d+\\s+0"],
    )
    s.tool("consumer-groups", "--describe", *group, "--state", expect=[r"Empty\s+0"])
    s.tool("consumer-groups", "--describe", *group, "--members", expect=["no active members"])
    s.tool("consumer-groups", "--describe", "--all-groups", expect=[s.group])
    reset = ("consumer-groups", *group, "--reset-offsets", "--topic", s.topic)
    s.tool(*reset, "--to-earliest", "--execute", expect=[f"{s.topic}\\s+0\\s+0"])
    s.tool(*reset, "--to-datetime", "2000-01-01T00:00:00.000", "--dry-run")
    s.tool(*reset, "--shift-by", "5", "--execute", expect=[f"{s.topic}\\s+[01]\\s+5"])
    s.tool(*reset, "--to-latest", "--export", "--dry-run", expect=[f'"?{s.topic}"?,0,'])
    s.tool(
        "consumer-groups", *group, "--delete-offsets", "--topic", s.topic,
        expect=["Request succeeded"],
    )
    s.tool(
        "consumer-groups", *group, "--delete",
        expect=["Deletion of requested consumer groups .* was successful"],
    )
    s.tool("consumer-groups", "--list", refuse=("Exception", s.group))
    s.tool(
        "consumer-groups", "--group", f"{s.group}-none", "--describe", refuse=(),
        expect=["GroupIdNotFoundException|does not exist"],
    )


def active_group(s):
    """What the tools say of a group while a consumer is in it."""
    s.create(1)
    consumer = (
        f"BIN/kafka-console-consumer.sh --bootstrap-server BROKER --topic {s.topic}"
        f" --group {s.group} > consumer.out 2>&1 & consumer=$!;"
        " trap 'kill -9 $consumer' EXIT;"
    )
    groups = f"BIN/kafka-consumer-groups.sh --bootstrap-server BROKER --group {s.group}"
    s.shell(
        f"{consumer} for i in $(seq 20); do {groups} --describe --state 2>&1 | tee state |"
        f" grep -q Stable && break; sleep 1; done; cat state; {groups} --describe --members"
        f" --verbose; {groups} --delete",
        refuse=(),
        expect=[r"range\s+Stable\s+1", f"{s.topic}\\(0\\)|{s.topic}:0", "GroupNotEmptyException"],
    )


def delete_records(s):
    s.create(1)
    s.produce(20)
    request = '{"partitions":[{"topic":"%s","partition":0,"offset":%d}],"version":1}'
    (s.folder / "delete.json").write_text(request % (s.topic, 15))
    s.tool("delete-records", "--offset-json-file", "delete.json", expect=["low_watermark: 15"])
    s.tool("get-offsets", "--topic", s.topic, "--time", "-2", expect=[f"^{s.topic}:0:15$"])
    s.consume(5)
    (s.folder / "delete.json").write_text(request % (s.topic, 100))
    s.tool(
        "delete-records", "--offset-json-file", "delete.json", refuse=(),
        expect=["OffsetOutOfRangeException"],
    )


def log_dirs(s):
    s.create(2)
    s.produce(10)
    s.tool(
        "log-dirs", "--describe", "--topic-list", s.topic,
        expect=[f'"partition":"{s.topic}-0"', '"size":[1-9]', '"error":null'],
    )


def cluster(s):
    s.tool("broker-api-versions", expect=[r"id: \d+ rack: null", r"Fetch\(1\)"])
    s.shell("BIN/kafka-cluster.sh cluster-id --bootstrap-server BROKER", expect=["Cluster ID: "])
    s.shell("BIN/kafka-cluster.sh list-endpoints --bootstrap-server BROKER", expect=["localhost|127"])
    s.tool("groups", "--list")
    s.tool("features", "describe", expect=["Feature: |^$"])


def one_node(s):
    """Elections and reassignments, of which one node has none to do."""
    s.create(1)
    s.tool(
        "leader-election", "--election-type", "preferred", "--topic", s.topic, "--partition", "0",
        expect=["election_not_needed|Valid replica already elected|Successfully"],
    )
    s.tool("reassign-partitions", "--list", expect=["No partition reassignments found"])


def producers(s):
    """What is known of an idempotent producer."""
    s.create(1)
    s.produce(5)
    s.shell(
        f"BIN/kafka-transactions.sh --bootstrap-server BROKER describe-producers --topic {s.topic}"
        " --partition 0",
        expect=[r"ProducerId\s+ProducerEpoch", r"^\d+\s+0\s+-?\d+\s+4\s"],
    )


def load(s):
    s.create(2)
    s.shell(
        f"BIN/kafka-producer-perf-test.sh --bootstrap-server BROKER --topic {s.topic}"
        " --num-records 5000 --record-size 200 --throughput -1",
        expect=["5000 records sent"],
    )
    s.shell(
        f"BIN/kafka-verifiable-producer.sh --bootstrap-server BROKER --topic {s.topic}"
        " --max-messages 100",
        expect=['"acked":100'],
    )


def kcat(s):
    s.create(2)
    s.shell(f"seq 100 | kcat -P -b BROKER -t {s.topic} -p 0 -z gzip")
    s.shell(f"kcat -L -b BROKER -t {s.topic} -J", expect=[f'"topic":"{s.topic}"'])
    s.shell(f"kcat -Q -b BROKER -t {s.topic}:0:1000", expect=[r"\[0\] offset 0"])
    s.shell(
        f"kcat -C -b BROKER -t {s.topic} -p 0 -o -10 -e -f '%o %s\\n'", expect=["^90 91$", "^99 100$"]
    )
    s.shell(
        f"timeout 20 kcat -b BROKER -G {s.group} -c 100 -X auto.offset.reset=earliest {s.topic}"
        " | sort -n | uniq | wc -l",
        expect=["^100$"],
    )


def kafkatop(s):
    s.create(2)
    s.produce(30)
    s.consume(20, "--group", s.group)
    top = [s.cache / "venv/bin/kafkatop", "--kafka-broker", s.bootstrap]
    groups = ["--all", "--group-filter-pattern", s.group]
    s.command("kafkatop", [*top, "--summary-json", *groups], [s.group, s.topic], ("Error",), 0)
    s.command("kafkatop", [*top, "--topicinfo"], [s.topic], ("Error",), 0)


SESSIONS = {
    name.__name__.replace("_", "-"): name
    for name in (
        topics, topic_configs, broker_configs, console, get_offsets, consumer_groups,
        active_group, delete_records, log_dirs, cluster, one_node, producers, load, kcat,
        kafkatop,
    )
}
