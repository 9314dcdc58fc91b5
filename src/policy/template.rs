//! Policies to begin with: reads and stops for named peers, nothing that moves, and tests that hold it to that.

use std::fmt::Write;

/// The generation of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// CB3, PolyScope 3.
    UrCb3,
    /// e-Series and UR series, PolyScope 5.
    UrESeries,
    /// PolyScope X, software 10.
    PolyscopeX,
}

impl Controller {
    /// All of them, by their names in configurations.
    pub const ALL: [(&'static str, Self); 3] =
        [("ur-cb3", Self::UrCb3), ("ur-e-series", Self::UrESeries), ("polyscope-x", Self::PolyscopeX)];

    /// Its name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UrCb3 => "ur-cb3",
            Self::UrESeries => "ur-e-series",
            Self::PolyscopeX => "polyscope-x",
        }
    }

    /// Most RTDE packages a second. Source: the maker's client library.
    const fn fastest_hz(self) -> u32 {
        match self {
            Self::UrCb3 => 125,
            Self::UrESeries | Self::PolyscopeX => 500,
        }
    }

    /// What of this policy is so for this controller alone.
    const fn differs(self) -> &'static str {
        match self {
            Self::UrCb3 => {
                "# CB3 sends RTDE at up to 125 Hz (e-Series: 500). Its ports 30011 to 30013 only read, from software 3.12 on;\n\
                 # 30001 to 30003 take scripts too, so no rule below opens either."
            }
            Self::UrESeries => {
                "# e-Series sends RTDE at up to 500 Hz (CB3: 125). Dashboard commands that move something need remote control;\n\
                 # reads do not. Ports 30001 to 30003 take scripts, so no rule below opens them."
            }
            Self::PolyscopeX => {
                "# PolyScope X has no Dashboard server: what it did goes over HTTP (port 80, /universal-robots/robot-api). With\n\
                 # profile = \"polyscope-x\" in the configuration, rules for the Dashboard mean those requests. RTDE and Modbus are\n\
                 # as on e-Series: up to 500 Hz."
            }
        }
    }
}

/// A commented policy for a robot of this kind: these peers may read and stop the robot, and nobody may do anything else.
///
/// Names are written as they are given; a policy of nobody comes with its rules as comments.
#[must_use]
pub fn template(controller: Controller, robot: &str, peers: &[String]) -> String {
    let mut text = format!(
        "# A policy to begin with, for {}: the peers below may read and stop, nothing may move, nothing may be written.\n\
         # What no rule allows is refused, toward the robot and out of it.\n{}\n\
         # Next: `vambrace learn` proposes rules from what the cell does; `vambrace policy ask` says who may do what.\n\n\
         version = 1\nrobot = {}\n",
        controller.name(),
        controller.differs(),
        quoted(robot),
    );
    let off = peers.is_empty();
    let named = if off { vec!["plc".to_owned()] } else { peers.to_vec() };
    let from = format!("[{}]", named.iter().map(|peer| quoted(peer)).collect::<Vec<_>>().join(", "));
    let mut rules = String::new();
    let mut rule = |id: &str, about: &str, keys: &str| {
        let _ = write!(rules, "\n# {about}\n[[allow]]\nid = \"{id}\"\nfrom = {from}\n{keys}");
    };
    rule(
        "read-modbus",
        "Registers and coils, functions 01 to 04. Writes (05, 06, 0F, 10) set outputs and steer programs.",
        "service = \"modbus\"\nfunction = [\"read_only\"]\n",
    );
    rule(
        "read-rtde",
        "Outputs of any name; no inputs. `outputs = [...]` narrows it to what a client needs.",
        &format!("service = \"rtde\"\nclass = [\"read\"]\nfrequency = \"1..={}\"\n", controller.fastest_hz()),
    );
    rule(
        "read-dashboard",
        "Questions such as `robotmode`; not `play`, `power on`, `brake release`.",
        "service = \"dashboard\"\nclass = [\"read\"]\n",
    );
    rule(
        "stop-dashboard",
        "Stop, pause and power off: who works with the robot may stop it. Take it out where a peer must not.",
        "service = \"dashboard\"\nclass = [\"stop\"]\n",
    );
    if off {
        text.push_str("\n# Nobody is named, so nobody may read either. Name the peers and take the marks out.\n");
        for line in rules.lines() {
            text.push_str(format!("# {line}").trim_end());
            text.push('\n');
        }
    } else {
        text.push_str(&rules);
    }
    text.push_str("\n# Run at every check and apply.\n");
    for peer in peers {
        tests(&mut text, peer, true);
    }
    tests(&mut text, STRANGER, false);
    text
}

/// An address that no plant uses: for documentation (RFC 5737).
const STRANGER: &str = "192.0.2.1";

fn tests(text: &mut String, peer: &str, reads: bool) {
    let mut test = |name: &str, allowed: bool, keys: &str| {
        let expect = if allowed { "allowed" } else { "refused" };
        let _ = write!(
            text,
            "\n[[test]]\nname = {}\nfrom = {}\n{keys}\nexpect = \"{expect}\"\n",
            quoted(&format!("{peer} {name}")),
            quoted(peer),
        );
    };
    let may = |what: &str| if reads { format!("may read {what}") } else { format!("may not read {what}") };
    test(&may("registers"), reads, "service = \"modbus\"\nfunction = \"read_holding_registers\"\naddress = 128");
    test(&may("the joints"), reads, "service = \"rtde\"\noutputs = [\"actual_q\"]\nfrequency = 125");
    test("may not write registers", false, "service = \"modbus\"\nfunction = \"write_single_register\"\naddress = 128");
    test("may not switch outputs", false, "service = \"rtde\"\ninput = \"standard_digital_output\"\nvalue = 1");
    test(&may("the robot's mode"), reads, "service = \"dashboard\"\ncommand = \"robotmode\"");
    let stop = format!("may {}stop", if reads { "" } else { "not " });
    test(&stop, reads, "service = \"dashboard\"\ncommand = \"stop\"");
    test("may not release brakes", false, "service = \"dashboard\"\ncommand = \"brake release\"");
    test("may not play", false, "service = \"dashboard\"\ncommand = \"play\"");
    test("may not use the robot's web interface as a whole", false, "service = \"tcp/80\"");
    test("may not move the arm by script", false, "service = \"urscript\"\ntext = \"movej([0, 0, 0, 0, 0, 0])\"");
    let target = "service = \"external_control\"\nmode = \"servoj\"\ntarget = [0, 0, 0, 0, 0, 0]";
    test("may not move the arm by set-points", false, target);
}

/// The text as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
