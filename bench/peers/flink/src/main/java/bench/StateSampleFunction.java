package bench;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** Joins the events of one key for a processing-time window that starts with its first event. */
public class StateSampleFunction extends KeyedProcessFunction<String, Tuple2<String, Event>, Sample> {
    private final long windowMs;
    private transient ValueState<Sample> state;

    public StateSampleFunction(long windowMs) { this.windowMs = windowMs; }

    @Override
    public void open(OpenContext ctx) {
        state = getRuntimeContext().getState(new ValueStateDescriptor<>("sample", Types.POJO(Sample.class)));
    }

    @Override
    public void processElement(Tuple2<String, Event> in, Context ctx, Collector<Sample> out) throws Exception {
        Event e = in.f1;
        Sample s = state.value();
        if (s == null) {
            s = new Sample();
            ctx.timerService().registerProcessingTimeTimer(ctx.timerService().currentProcessingTime() + windowMs);
        }
        if (e.imp) {
            if (s.imps++ == 0) {
                s.ts = e.ts; s.pos = e.pos; s.scene = e.scene; s.device = e.device; s.feat = e.feat;
            }
        } else {
            switch (e.action) {
                case "click": s.clicks++; break;
                case "like": s.likes++; break;
                case "dwell": s.dwellSum += e.value; s.dwellMax = Math.max(s.dwellMax, e.value); break;
                default: break;
            }
        }
        s.lastTs = Math.max(s.lastTs, e.ts);
        state.update(s);
    }

    @Override
    public void onTimer(long ts, OnTimerContext ctx, Collector<Sample> out) throws Exception {
        Sample s = state.value();
        state.clear();
        if (s != null && s.imps > 0) {
            s.key = ctx.getCurrentKey();
            s.windowEndMs = ts;
            out.collect(s);
        }
    }
}
