package bench;

import java.time.Duration;
import java.util.Map;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** Impressions and actions, union, keyBy, state with a timer, samples to Kafka. Arguments: Flink options, key=value. */
public class SampleJob {
    static final Map<String, String> ENV = System.getenv();
    static final long WINDOW_MS = Long.parseLong(ENV.getOrDefault("WINDOW_MS", "10000"));
    static final long ALIGN_MS = 3_000;        // keeps the two sources together by event time
    static final long IMPRESSIONS_LATE_MS = 1_000;
    static final long ACTIONS_LATE_MS = Long.parseLong(ENV.getOrDefault("ACTIONS_LATE_MS", "60000"));

    public static void main(String[] args) throws Exception {
        StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(2, options(args));
        DataStream<Tuple2<String, Event>> impressions =
                env.fromSource(source(ENV.get("IMP"), true), marks(IMPRESSIONS_LATE_MS), "impressions");
        DataStream<Tuple2<String, Event>> actions =
                env.fromSource(source(ENV.get("ACT"), false), marks(ACTIONS_LATE_MS), "actions");
        impressions.union(actions)
                .keyBy(t -> t.f0)
                .process(new StateSampleFunction(WINDOW_MS)).name("join")
                .sinkTo(sink()).name("samples");
        env.execute(ENV.get("RUN_ID"));
    }

    static Configuration options(String[] args) {
        String dir = ENV.get("RUN_DIR");
        Configuration conf = Configuration.fromMap(Map.of(
                "execution.checkpointing.incremental", "true",
                "execution.checkpointing.interval", "10 s",
                "execution.checkpointing.storage", "filesystem",
                "execution.checkpointing.dir", "file://" + dir + "/checkpoints",
                "io.tmp.dirs", dir + "/tmp",
                "pipeline.object-reuse", "true",
                "pipeline.generic-types", "false",
                "pipeline.auto-watermark-interval", "50 ms"));
        conf.setString("taskmanager.numberOfTaskSlots", "2");
        conf.setString("taskmanager.memory.managed.size", "1g");
        conf.setString("taskmanager.memory.network.min", "256m");
        conf.setString("taskmanager.memory.network.max", "256m");
        conf.setString("state.backend.rocksdb.timer-service.factory", "HEAP");
        conf.setString("state.backend.rocksdb.use-bloom-filter", "true");
        for (String arg : args) {
            int equals = arg.indexOf('=');
            conf.setString(arg.substring(0, equals), arg.substring(equals + 1));
        }
        return conf;
    }

    static KafkaSource<Tuple2<String, Event>> source(String topic, boolean impressions) {
        return KafkaSource.<Tuple2<String, Event>>builder()
                .setBootstrapServers(ENV.get("BROKER"))
                .setTopics(topic)
                .setGroupId(ENV.get("RUN_ID"))
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setValueOnlyDeserializer(new EventParser(impressions))
                .build();
    }

    static WatermarkStrategy<Tuple2<String, Event>> marks(long lateMs) {
        return WatermarkStrategy.<Tuple2<String, Event>>forBoundedOutOfOrderness(Duration.ofMillis(lateMs))
                .withTimestampAssigner((event, recordMs) -> event.f1.ts)
                .withWatermarkAlignment("sources", Duration.ofMillis(ALIGN_MS), Duration.ofMillis(100));
    }

    static KafkaSink<Sample> sink() {
        return KafkaSink.<Sample>builder()
                .setBootstrapServers(ENV.get("BROKER"))
                .setDeliveryGuarantee(DeliveryGuarantee.valueOf(ENV.get("GUARANTEE")))
                .setTransactionalIdPrefix(ENV.get("RUN_ID"))
                .setProperty("transaction.timeout.ms", "600000")
                .setProperty("linger.ms", "50")
                .setProperty("batch.size", "262144")
                .setRecordSerializer(KafkaRecordSerializationSchema.<Sample>builder()
                        .setTopic(ENV.get("OUT"))
                        .setValueSerializationSchema(new SampleWriter())
                        .build())
                .build();
    }
}
