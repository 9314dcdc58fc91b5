use super::Names;
use super::eve::timestamp;
use super::json::Object;

/// Counters since the start: the heart-beat of the event file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// When they were read: nanoseconds since 1970.
    pub wall_ns: u64,
    /// Seconds since the packet process took the wire.
    pub uptime_seconds: u64,
    /// Frames received on both ports.
    pub frames: u64,
    /// Frames that the kernel dropped before they were seen.
    pub kernel_drops: u64,
    /// Frames that went on.
    pub forwarded: u64,
    /// Frames that did not.
    pub dropped: u64,
    /// Conversations in the flow table.
    pub flows: u64,
}

impl Stats {
    /// Appends a `stats` line, without line end.
    pub fn render(&self, names: &Names, out: &mut String) {
        Object::write(out, |line| {
            line.text("timestamp", &timestamp(self.wall_ns));
            line.text("event_type", "stats");
            line.text("host", names.host());
            line.object("stats", |stats| {
                stats.number("uptime", self.uptime_seconds);
                stats.object("capture", |capture| {
                    capture.number("kernel_packets", self.frames.saturating_add(self.kernel_drops));
                    capture.number("kernel_drops", self.kernel_drops);
                });
                stats.object("decoder", |decoder| decoder.number("pkts", self.frames));
                stats.object("ips", |ips| {
                    ips.number("accepted", self.forwarded);
                    ips.number("blocked", self.dropped);
                });
                stats.object("flow", |flow| flow.number("active", self.flows));
            });
        });
    }
}
