import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.Callable;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/**
 * The clients of `run.sh`, the same for both sides, and the pipeline of the other side.
 *
 * <pre>
 * fill BOOTSTRAP TOPIC RECORDS CODEC            JSON of some 300 bytes into a topic of 4 partitions
 * streams BOOTSTRAP WORK SOURCE OUTPUT RECORDS  Kafka Streams, exactly once; prints records/s
 * streams BOOTSTRAP WORK SOURCE OUTPUT          the same until it is ended
 * pipeline HTTP NAME RECORDS DEPLOY...          runs the command and waits for Millstream's
 *                                               pipeline; prints records/s
 * latency BOOTSTRAP SOURCE OUTPUT SECONDS       1,000 records/s; prints p50 and p99, milliseconds
 * </pre>
 *
 * Records/s are those between a tenth of the records and all of them, by committed source offsets:
 * no side's start counts.
 */
public class Bench {
  static final int PARTITIONS = 4;
  static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] args) throws Exception {
    switch (args[0]) {
      case "fill" -> fill(args[1], args[2], Integer.parseInt(args[3]), args[4]);
      case "streams" -> streams(args);
      case "pipeline" -> pipeline(args);
      case "latency" -> latency(args[1], args[2], args[3], Integer.parseInt(args[4]));
      default -> throw new IllegalArgumentException(args[0]);
    }
    System.exit(0);
  }

  static byte[] value(int i, Random random) {
    String[] regions = {"north", "south", "east", "west"};
    return """
        {"id":%d,"user":"user-%d","email":"someone.%d@example.org","region":"%s","test":%b,\
        "items":[{"sku":"A-%d","count":%d,"price":%d.5},{"sku":"B-%d","count":%d,"price":12.25}],\
        "note":"left at the door","total":%d.75,"currency":"EUR","paid":true,"coupon":null,\
        "agent":"Mozilla/5.0"}"""
        .formatted(
            i, random.nextInt(10_000), random.nextInt(10_000), regions[random.nextInt(4)],
            random.nextInt(10) == 0, random.nextInt(1_000), random.nextInt(9),
            random.nextInt(100), random.nextInt(1_000), random.nextInt(9), random.nextInt(1_000))
        .getBytes(StandardCharsets.UTF_8);
  }

  static KafkaProducer<byte[], byte[]> producer(String bootstrap, Map<String, Object> more) {
    var settings = new Properties();
    settings.put("bootstrap.servers", bootstrap);
    settings.putAll(more);
    var bytes = new ByteArraySerializer();
    return new KafkaProducer<>(settings, bytes, bytes);
  }

  static void create(Admin admin, String topic) throws Exception {
    admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, (short) 1))).all().get();
  }

  static void fill(String bootstrap, String topic, int records, String codec) throws Exception {
    try (var admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
      create(admin, topic);
    }
    var more = Map.<String, Object>of("compression.type", codec, "batch.size", 200_000,
        "linger.ms", 50, "buffer.memory", 64 << 20);
    var random = new Random(1);
    try (var producer = producer(bootstrap, more)) {
      for (int i = 0; i < records; i++) {
        byte[] key = ("key-" + random.nextInt(1_000)).getBytes(StandardCharsets.UTF_8);
        var record = new ProducerRecord<>(topic, i % PARTITIONS, key, value(i, random));
        record.headers().add("trace", "0af7651".getBytes(StandardCharsets.UTF_8));
        producer.send(record);
      }
    }
  }

  /** Records a second, from the last look before a tenth was done until all were. */
  static void rate(long records, Callable<Long> done) throws Exception {
    long from = 0, began = System.nanoTime();
    while (true) {
      long now = done.call();
      // The last look before a tenth was done.
      if (now < records / 10) {
        from = now;
        began = System.nanoTime();
      }
      if (now >= records) {
        System.out.printf("%.0f%n", (records - from) / ((System.nanoTime() - began) / 1e9));
        return;
      }
      Thread.sleep(2);
    }
  }

  static Optional<byte[]> masked(byte[] value) {
    try {
      var tree = (ObjectNode) JSON.readTree(value);
      if (tree.path("test").asBoolean()) return Optional.empty();
      if (tree.has("email")) tree.put("email", "***");
      return Optional.of(JSON.writeValueAsBytes(tree));
    } catch (Exception error) {
      throw new RuntimeException(error);
    }
  }

  static void streams(String[] args) throws Exception {
    String bootstrap = args[1], work = args[2], source = args[3], output = args[4];
    var settings = new Properties();
    settings.put("application.id", "streams-" + output);
    settings.put("bootstrap.servers", bootstrap);
    settings.put("processing.guarantee", "exactly_once_v2");
    settings.put("state.dir", Files.createTempDirectory("streams").toString());
    settings.put("auto.offset.reset", "earliest");
    settings.put("replication.factor", "1");
    settings.put("num.stream.threads", "2");
    var bytes = Serdes.ByteArray();
    var builder = new StreamsBuilder();
    var stream = builder.stream(source, Consumed.with(bytes, bytes));
    if (work.equals("mask")) {
      stream = stream.flatMapValues(value -> masked(value).map(List::of).orElse(List.of()));
    }
    stream.to(output, Produced.with(bytes, bytes));
    try (var admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        var app = new KafkaStreams(builder.build(), settings)) {
      create(admin, output);
      app.start();
      if (args.length == 5) Thread.sleep(Long.MAX_VALUE);
      rate(Long.parseLong(args[5]), () -> {
        var offsets = admin.listConsumerGroupOffsets("streams-" + output);
        return offsets.partitionsToOffsetAndMetadata().get().values().stream()
            .mapToLong(offset -> offset == null ? 0 : offset.offset()).sum();
      });
    }
  }

  static void pipeline(String[] args) throws Exception {
    String http = args[1], name = args[2];
    long records = Long.parseLong(args[3]);
    var command = List.of(args).subList(4, args.length);
    new ProcessBuilder(command).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
    var client = HttpClient.newHttpClient();
    var request = HttpRequest.newBuilder(URI.create(http + "/v1/pipelines")).build();
    rate(records, () -> {
      var body = client.send(request, HttpResponse.BodyHandlers.ofByteArray()).body();
      // Until it is there.
      long lag = records;
      for (var pipeline : JSON.readTree(body)) {
        if (!pipeline.path("name").asText().equals(name)) continue;
        lag = 0;
        for (var partition : pipeline.path("partitions")) lag += partition.path("lag").asLong();
      }
      return records - lag;
    });
  }

  static void latency(String bootstrap, String source, String output, int seconds)
      throws Exception {
    var settings = new Properties();
    settings.put("bootstrap.servers", bootstrap);
    settings.put("isolation.level", "read_committed");
    settings.put("fetch.max.wait.ms", "5");
    var bytes = new ByteArrayDeserializer();
    var times = Collections.synchronizedList(new ArrayList<Long>());
    int warm = 5_000, records = warm + seconds * 1_000;
    try (var producer = producer(bootstrap, Map.of("linger.ms", 0));
        var consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
      consumer.assign(consumer.partitionsFor(output).stream()
          .map(p -> new org.apache.kafka.common.TopicPartition(p.topic(), p.partition()))
          .toList());
      consumer.seekToEnd(consumer.assignment());
      consumer.assignment().forEach(consumer::position);
      var sender = new Thread(() -> {
        long begin = System.nanoTime();
        for (int i = 0; i < records; i++) {
          long due = begin + i * 1_000_000L;
          java.util.concurrent.locks.LockSupport.parkNanos(due - System.nanoTime());
          byte[] value = ("{\"id\":" + i + ",\"at\":" + due + "}").getBytes(StandardCharsets.UTF_8);
          producer.send(new ProducerRecord<>(source, i % PARTITIONS, null, value));
        }
      });
      sender.start();
      for (int seen = 0; seen < records; ) {
        for (var record : consumer.poll(Duration.ofMillis(100))) {
          var tree = JSON.readTree(record.value());
          if (tree.path("id").asInt() >= warm) {
            times.add(System.nanoTime() - tree.path("at").asLong());
          }
          seen++;
        }
      }
      sender.join();
    }
    Collections.sort(times);
    System.out.printf("%.2f %.2f%n", times.get(times.size() / 2) / 1e6,
        times.get(times.size() * 99 / 100) / 1e6);
  }
}
