//! What happened to the box itself.

use dissect::Toward;

use super::super::attack::DISCOVERY;
use super::Line;
use crate::event::{Notice, Shed};
use crate::export::json::Object;
use crate::export::sentence;

impl Line<'_> {
    pub(super) fn notice(&self, line: &mut Object<'_>, notice: &Notice) {
        let ends = match notice {
            Notice::Late { key, toward, .. } | Notice::Silent { key, toward, .. } => Some((key, *toward)),
            _ => None,
        };
        self.head(line, "notice", ends);
        line.object("notice", |object| {
            object.number("event_id", self.event.id.0);
            match notice {
                Notice::Started => object.text("kind", "started"),
                Notice::Replaced { how, restarts } => {
                    object.text("kind", "replaced");
                    object.text("how", how);
                    object.number("restarts", *restarts);
                }
                Notice::Opened { for_ms } => {
                    object.text("kind", "opened");
                    object.number("for_ms", *for_ms);
                }
                Notice::Bypass { state, uid, for_seconds } => {
                    object.text("kind", "bypass");
                    object.text("state", state);
                    object.number("uid", *uid);
                    object.number("for_seconds", *for_seconds);
                }
                Notice::Mode { from, to, uid } => {
                    object.text("kind", "mode");
                    object.text("from", from);
                    object.text("to", to);
                    object.number("uid", *uid);
                }
                Notice::Policy { generation, digest, uid } => {
                    object.text("kind", "policy");
                    object.number("generation", *generation);
                    object.hex("digest", digest);
                    object.number("uid", *uid);
                }
                Notice::Asked { user, role, address, request, answer, why } => {
                    object.text("kind", if *answer == "denied" { "denied" } else { "asked" });
                    for (key, text) in [("user", user.as_bytes()), ("role", role.as_bytes())] {
                        if !text.is_empty() {
                            object.text(key, &String::from_utf8_lossy(text));
                        }
                    }
                    object.text("address", &address.to_string());
                    super::wire(object, "request", request);
                    object.text("answer", answer);
                    if !why.is_empty() {
                        super::wire(object, "why", why);
                    }
                }
                Notice::Update { step, from, to, who, why } => {
                    object.text("kind", "update");
                    object.text("step", step);
                    super::wire(object, "from", from);
                    for (key, text) in [("to", to.as_bytes()), ("who", who.as_bytes())] {
                        if !text.is_empty() {
                            object.text(key, &String::from_utf8_lossy(text));
                        }
                    }
                    if !why.is_empty() {
                        super::wire(object, "why", why);
                    }
                }
                Notice::Patches { pack, in_force, generation, version } => {
                    object.text("kind", "patches");
                    object.number("pack", *pack);
                    object.number("in_force", *in_force);
                    object.number("generation", *generation);
                    if let Some((major, minor, bugfix)) = version {
                        object.text("software", &format!("{major}.{minor}.{bugfix}"));
                    }
                }
                Notice::PatchTest { protected, not_protected, not_applicable, not_containable, untested } => {
                    object.text("kind", "patch_test");
                    object.number("protected", *protected);
                    object.number("not_protected", *not_protected);
                    object.number("not_applicable", *not_applicable);
                    object.number("not_containable", *not_containable);
                    object.number("untested", *untested);
                }
                Notice::Late { service, toward, whose, interval_ns, period_ns, residence_ns, unreported, .. } => {
                    object.text("kind", "late");
                    object.text("service", &service.to_string());
                    object.text("toward", if *toward == Toward::Robot { "robot" } else { "plant" });
                    object.text("whose", whose.name());
                    object.number("interval_us", interval_ns / 1_000);
                    object.number("period_us", period_ns / 1_000);
                    object.number("in_the_box_us", residence_ns / 1_000);
                    if *unreported > 0 {
                        object.number("unreported", *unreported);
                    }
                }
                Notice::Silent { service, toward, silent_ns, period_ns, over, .. } => {
                    object.text("kind", "silent");
                    object.text("service", &service.to_string());
                    object.text("toward", if *toward == Toward::Robot { "robot" } else { "plant" });
                    object.number("silent_us", silent_ns / 1_000);
                    object.number("period_us", period_ns / 1_000);
                    object.flag("over", *over);
                }
                Notice::Quarantine { address, mac, for_ns } => {
                    object.text("kind", "quarantine");
                    object.text("address", &address.to_string());
                    object.text("mac", &mac.to_string());
                    object.number("for_seconds", for_ns / 1_000_000_000);
                }
                Notice::QuarantineFull { address, mac, for_ns } => {
                    object.text("kind", "quarantine_full");
                    object.text("address", &address.to_string());
                    object.text("mac", &mac.to_string());
                    object.number("for_seconds", for_ns / 1_000_000_000);
                }
                Notice::Scan { address, mac, ports } => {
                    object.text("kind", "scan");
                    object.text("address", &address.to_string());
                    object.text("mac", &mac.to_string());
                    object.number("ports", *ports);
                    object.text("mitre_technique_id", DISCOVERY.id);
                    object.text("mitre_technique_name", DISCOVERY.name);
                }
                Notice::FramesKept { uid } => {
                    object.text("kind", "frames_kept");
                    object.number("uid", *uid);
                }
                Notice::Capture { uid, only_dropped, snap, begins } => {
                    object.text("kind", if *begins { "capture_began" } else { "capture_ended" });
                    object.number("uid", *uid);
                    object.flag("only_dropped", *only_dropped);
                    object.number("snap", *snap);
                }
                Notice::RecordsLost { count } => {
                    object.text("kind", "records_lost");
                    object.number("count", *count);
                }
                Notice::Overload { shed, counts } => {
                    object.text("kind", "overload");
                    object.text("shed", shed.name());
                    if *shed == Shed::Nothing {
                        object.object("counts", |object| {
                            for (shed, count) in Shed::ALL.into_iter().zip(*counts) {
                                object.number(shed.name(), count);
                            }
                        });
                    }
                }
                Notice::Loop { mac } => {
                    object.text("kind", "loop");
                    object.text("mac", &mac.to_string());
                }
                Notice::Port { side, up } => {
                    object.text("kind", "port");
                    object.text("port", if *side == Toward::Robot { "robot" } else { "plant" });
                    object.flag("up", *up);
                }
                Notice::ClockJump { by_ns } => {
                    object.text("kind", "clock_jump");
                    object.signed("by_ns", *by_ns);
                }
                // Anomalies by another function.
                Notice::Anomaly { .. } | Notice::Unreadable { .. } => object.text("kind", "anomaly"),
            }
            object.text("sentence", &sentence(self.event, self.context.names));
        });
    }
}
