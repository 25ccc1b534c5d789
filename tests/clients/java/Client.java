import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Properties;
import java.util.StringJoiner;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** The Java client behind the command line that every client here has; see ../README.md. */
final class Client {
    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "produce" -> produce(args[1], args[2], args.length > 3 ? args[3] : null);
            case "consume" -> consume(args[1], args[2], args[3], args.length > 4 ? args[4] : null);
            case "hello" -> Hello.run(args[1], args[2]);
            case "admin" -> Admin.run(args[1], args[2]);
            default -> throw new IllegalArgumentException("unknown command " + args[0]);
        }
    }

    private static final String BYTES = "org.apache.kafka.common.serialization.ByteArray";

    private static void produce(String bootstrap, String topic, String codec) throws Exception {
        var settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("key.serializer", BYTES + "Serializer");
        settings.put("value.serializer", BYTES + "Serializer");
        if (codec != null) {
            settings.put("compression.type", codec);
        }
        var sent = new ArrayList<Future<?>>();
        try (var producer = new KafkaProducer<byte[], byte[]>(settings);
                var input = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                sent.add(producer.send(parse(topic, line)));
            }
            for (var acknowledgement : sent) {
                acknowledgement.get();
            }
        }
        System.out.println(sent.size());
    }

    private static void consume(String bootstrap, String topic, String group, String sessionMs) {
        var settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", group);
        settings.put("auto.offset.reset", "earliest");
        settings.put("key.deserializer", BYTES + "Deserializer");
        settings.put("value.deserializer", BYTES + "Deserializer");
        if (sessionMs != null) {
            settings.put("session.timeout.ms", sessionMs);
        }
        var output = new PrintStream(System.out, false);
        var closed = new CountDownLatch(1);
        var clean = new AtomicBoolean();
        var consumer = new KafkaConsumer<byte[], byte[]>(settings);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            awaitQuietly(closed);
            // The virtual machine would report the signal; a clean stop is a success.
            Runtime.getRuntime().halt(clean.get() ? 0 : 1);
        }));
        try {
            consumer.subscribe(List.of(topic));
            while (true) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    output.print(format(record));
                }
                output.flush(); // before the next poll, which may commit these
            }
        } catch (WakeupException stop) {
            consumer.close();
            clean.set(true);
        } finally {
            closed.countDown();
        }
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException stop) {
            Thread.currentThread().interrupt();
        }
    }

    private static ProducerRecord<byte[], byte[]> parse(String topic, String line) {
        String[] part = line.split("\t", -1);
        Long timestamp = part[0].equals("-") ? null : Long.valueOf(part[0]);
        var headers = new ArrayList<Header>();
        for (String pair : part[3].isEmpty() ? new String[0] : part[3].split(",")) {
            String[] header = pair.split(":", -1);
            var name = new String(bytes(header[0]), StandardCharsets.UTF_8);
            headers.add(new RecordHeader(name, bytes(header[1])));
        }
        byte[] key = bytes(part[1]), value = bytes(part[2]);
        return new ProducerRecord<>(topic, null, timestamp, key, value, headers);
    }

    private static String format(ConsumerRecord<byte[], byte[]> record) {
        var headers = new StringJoiner(",");
        for (Header header : record.headers()) {
            var name = header.key().getBytes(StandardCharsets.UTF_8);
            headers.add(text(name) + ":" + text(header.value()));
        }
        return record.partition() + "\t" + record.offset() + "\t" + record.timestamp() + "\t"
                + text(record.key()) + "\t" + text(record.value()) + "\t" + headers + "\n";
    }

    private static byte[] bytes(String text) {
        return text.equals("-") ? null : Base64.getDecoder().decode(text);
    }

    private static String text(byte[] bytes) {
        return bytes == null ? "-" : Base64.getEncoder().encodeToString(bytes);
    }
}
