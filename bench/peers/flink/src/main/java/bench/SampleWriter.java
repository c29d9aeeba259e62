package bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.util.ByteArrayBuilder;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.apache.flink.api.common.serialization.SerializationSchema;

/** Sample to JSON bytes, Jackson streaming generator. */
public class SampleWriter implements SerializationSchema<Sample> {
    private transient JsonFactory json;
    private transient ByteArrayBuilder buf;

    @Override
    public void open(InitializationContext ctx) { json = new JsonFactory(); buf = new ByteArrayBuilder(512); }

    @Override
    public byte[] serialize(Sample s) {
        int bar = s.key.indexOf('|');
        buf.reset();
        try (JsonGenerator g = json.createGenerator(buf)) {
            g.writeStartObject();
            g.writeStringField("uid", s.key.substring(0, bar));
            g.writeStringField("mid", s.key.substring(bar + 1));
            g.writeNumberField("ts", s.ts);
            g.writeNumberField("pos", s.pos);
            g.writeStringField("scene", s.scene);
            g.writeStringField("device", s.device);
            g.writeFieldName("feat");
            g.writeArray(s.feat, 0, s.feat.length);
            g.writeNumberField("imps", s.imps);
            g.writeNumberField("clicks", s.clicks);
            g.writeNumberField("likes", s.likes);
            g.writeNumberField("dwell_sum", s.dwellSum);
            g.writeNumberField("dwell_max", s.dwellMax);
            g.writeNumberField("last_ts", s.lastTs);
            g.writeBooleanField("label", s.clicks > 0);
            g.writeNumberField("window_end_ms", s.windowEndMs);
            g.writeEndObject();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return buf.toByteArray();
    }
}
