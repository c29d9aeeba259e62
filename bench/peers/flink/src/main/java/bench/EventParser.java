package bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;

/** JSON bytes to (key, event), Jackson streaming parser; null (skipped by Flink) for what is filtered out. */
public class EventParser implements DeserializationSchema<Tuple2<String, Event>> {
    private static volatile boolean started;
    private final boolean imp;
    private transient JsonFactory json;
    private transient int[] ints;

    public EventParser(boolean imp) { this.imp = imp; }

    @Override
    public void open(InitializationContext ctx) { json = new JsonFactory(); ints = new int[64]; }

    @Override
    public Tuple2<String, Event> deserialize(byte[] msg) throws IOException {
        if (!started) start();
        Event e = new Event();
        e.imp = imp;
        String uid = null, mid = null;
        try (JsonParser p = json.createParser(msg)) {
            p.nextToken();
            while (p.nextToken() == JsonToken.FIELD_NAME) {
                String f = p.currentName();
                p.nextToken();
                switch (f) {
                    case "uid": uid = p.getText(); break;
                    case "mid": mid = p.getText(); break;
                    case "ts": e.ts = p.getLongValue(); break;
                    case "pos": e.pos = p.getIntValue(); break;
                    case "scene": e.scene = p.getText(); break;
                    case "device": e.device = p.getText(); break;
                    case "action": e.action = p.getText(); break;
                    case "value": e.value = p.getDoubleValue(); break;
                    case "feat":
                        int n = 0;
                        while (p.nextToken() != JsonToken.END_ARRAY) {
                            if (n == ints.length) ints = Arrays.copyOf(ints, n * 2);
                            ints[n++] = p.getIntValue();
                        }
                        e.feat = Arrays.copyOf(ints, n);
                        break;
                    default: p.skipChildren();
                }
            }
        }
        if (uid == null || mid == null || (imp && e.pos < 0)) return null;
        return Tuple2.of(uid + "|" + mid, e);
    }

    /** The benchmark's: work begins. */
    private static synchronized void start() throws IOException {
        if (started) return;
        Files.createFile(Path.of(System.getenv("RUN_DIR"), "first-" + ProcessHandle.current().pid()));
        started = true;
    }

    @Override
    public boolean isEndOfStream(Tuple2<String, Event> e) { return false; }

    @Override
    public TypeInformation<Tuple2<String, Event>> getProducedType() {
        return Types.TUPLE(Types.STRING, Types.POJO(Event.class));
    }
}
