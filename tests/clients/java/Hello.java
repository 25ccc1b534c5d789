import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;

/** The first program that anybody writes, and nothing set that it does not need. */
final class Hello {
    static void run(String bootstrap, String group) throws Exception {
        var strings = "org.apache.kafka.common.serialization.String";
        var settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("key.serializer", strings + "Serializer");
        settings.put("value.serializer", strings + "Serializer");
        RecordMetadata sent;
        try (var producer = new KafkaProducer<String, String>(settings)) {
            sent = producer.send(new ProducerRecord<>("my-topic", "Hello, Kafka!")).get();
        }

        var reading = new Properties();
        reading.put("bootstrap.servers", bootstrap);
        reading.put("group.id", group);
        reading.put("auto.offset.reset", "earliest");
        reading.put("key.deserializer", strings + "Deserializer");
        reading.put("value.deserializer", strings + "Deserializer");
        try (var consumer = new KafkaConsumer<String, String>(reading)) {
            consumer.subscribe(List.of("my-topic"));
            while (true) { // the runner's deadline ends a search that finds nothing
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    if (record.partition() == sent.partition()
                            && record.offset() == sent.offset()) {
                        System.out.println(record.value());
                        return;
                    }
                }
            }
        }
    }
}
