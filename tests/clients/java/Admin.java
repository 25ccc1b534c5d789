import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** A topic's life through AdminClient: create, list, describe, describe configs, delete. */
final class Admin {
    static void run(String bootstrap, String topic) throws Exception {
        var settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        try (var admin = AdminClient.create(settings)) {
            var wanted = new NewTopic(topic, 3, (short) 1)
                    .configs(Map.of("retention.ms", "3600000"));
            admin.createTopics(List.of(wanted)).all().get();
            awaitListed(admin, topic, true);
            var again = cause(() -> admin.createTopics(List.of(wanted)).all().get());
            check(again instanceof TopicExistsException, "created twice: " + again);

            var description = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
            check(description.partitions().size() == 3, "described as " + description);
            for (var partition : description.partitions()) {
                check(partition.leader() != null, "no leader: " + partition);
            }

            var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            var config = admin.describeConfigs(Set.of(resource)).all().get().get(resource);
            var known = Map.of("retention.ms", "3600000", "cleanup.policy", "delete");
            for (var expected : known.entrySet()) {
                var entry = config.get(expected.getKey());
                check(entry != null, "no config " + expected.getKey());
                check(expected.getValue().equals(entry.value()), "config is " + entry);
            }

            admin.deleteTopics(List.of(topic)).all().get();
            awaitListed(admin, topic, false);
            var gone = cause(() -> admin.deleteTopics(List.of(topic)).all().get());
            check(gone instanceof UnknownTopicOrPartitionException, "deleted twice: " + gone);
        }
        System.out.println("done");
    }

    /** A broker may know of a change a little later than the controller that made it. */
    private static void awaitListed(AdminClient admin, String topic, boolean wanted)
            throws Exception {
        long deadline = System.nanoTime() + 10_000_000_000L;
        while (admin.listTopics().names().get().contains(topic) != wanted) {
            check(System.nanoTime() < deadline, "10 s later, listed is not " + wanted);
            Thread.sleep(50);
        }
    }

    private interface Call {
        Object get() throws Exception;
    }

    private static Throwable cause(Call call) throws Exception {
        try {
            call.get();
            return null;
        } catch (ExecutionException error) {
            return error.getCause();
        }
    }

    private static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }
}
