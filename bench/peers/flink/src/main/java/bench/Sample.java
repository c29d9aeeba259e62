package bench;

/** Keyed state and output record. */
public class Sample {
    // Not part of the state, set on emission: the sink is chained to the join and gets this very object.
    public transient String key;
    public transient long windowEndMs;
    public long ts;
    public int pos;
    public String scene;
    public String device;
    public int[] feat;
    public int imps;
    public int clicks;
    public int likes;
    public double dwellSum;
    public double dwellMax;
    public long lastTs;
}
