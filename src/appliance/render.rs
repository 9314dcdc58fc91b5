use std::sync::Arc;

use crate::config::Config;
use crate::engine::Rules;
use crate::event::{Event, Record, Render, Settled};

struct Plain;
impl Render for Plain {
    fn line(&mut self, settled: &Settled, out: &mut String) {
        let event = &settled.event;
        if let Record::Command(c) = &event.record {
            let v = serde_json::json!({"event_id": event.id.0, "event_type": c.service.to_string(), "frame": event.frame,
              "src_ip": c.key.plant.ip().to_string(), "src_port": c.key.plant.port, "dest_port": c.key.robot.port,
              "verdict": {"action": format!("{:?}", c.verdict.action).to_lowercase(), "reason": c.verdict.reason.name()}, "detail": format!("{:?}", c.detail)});
            out.push_str(&v.to_string());
        } else {
            out.push_str(&serde_json::json!({"event_id": event.id.0, "event_type": "other", "record": format!("{:?}", event.record)}).to_string());
        }
    }
    fn sentence(&mut self, event: &Event) -> String {
        format!("{:?}", event.record)
    }
}
/// T
pub fn render(_: &Config) -> Box<dyn Render> {
    Box::new(Plain)
}
/// T
pub fn render_for(_: &Rules) -> Box<dyn Render> {
    let _ = Arc::new(1);
    Box::new(Plain)
}
