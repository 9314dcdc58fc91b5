use crate::{Argument, Arguments, Tokens, Value};

/// Most parameters of a function in the table.
pub const MAX_PARAMETERS: usize = 8;

/// Longest text of arguments that is resolved, in bytes. A call of literals is far shorter; a longer one proves nothing,
/// so that no text is read again and again.
const MAX_TEXT: usize = 4 << 10;

/// Deepest bracket inside arguments that are resolved: `pose_trans(p[0, 0, 0, 0, 0, 0], inv(p[...]))` goes 3 deep. Calls
/// inside calls would otherwise be read once for each call around them.
const MAX_NESTING: usize = 4;

/// What a parameter takes, as far as literals of it can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Takes {
    /// A number.
    Number,
    /// A whole number; what a controller does with a fraction is not known.
    Whole,
    /// `True` or `False`.
    Flag,
    /// A string.
    Text,
    /// A list of six joint positions in rad.
    Joints,
    /// A list of six joint speeds in rad/s.
    JointSpeeds,
    /// A pose.
    Pose,
    /// A pose, or a list of six joint positions: the controller converts whichever it does not need.
    Target,
    /// A list of this many numbers.
    List(usize),
}

/// One parameter of a built-in function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in the manual, by which a call may hand it over.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What holds where a call leaves it out, if that is the same in every version.
    pub default: Option<f64>,
}

/// The parameters of a built-in function, in order.
///
/// Source: Universal Robots, "The URScript Programming Language", e-Series, software 5.20 and later. README.md says what
/// differs between versions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signature {
    /// The function.
    pub function: &'static str,
    /// What it is called with, in order.
    pub parameters: &'static [Parameter],
    /// Parameters that count for nothing where the one at the last place is given and not 0: `a` and `v` of `movej`,
    /// which has to be there in time `t`.
    pub overridden: Option<Overridden>,
}

/// Parameters that another one makes void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overridden {
    /// Places of the parameters that don't count.
    pub places: &'static [usize],
    /// Place of the parameter that counts instead.
    pub by: usize,
}

impl Signature {
    /// The parameters of `function`, if they are in the table.
    ///
    /// Cost: a binary search.
    #[must_use]
    pub fn of(function: &[u8]) -> Option<&'static Self> {
        let index = SIGNATURES.binary_search_by(|own| own.function.as_bytes().cmp(function)).ok()?;
        SIGNATURES.get(index)
    }

    /// Every function whose parameters are known, sorted by name.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        SIGNATURES
    }

    /// The place of the parameter with this name.
    #[must_use]
    pub fn place(&self, name: &[u8]) -> Option<usize> {
        self.parameters.iter().position(|parameter| parameter.name.as_bytes() == name)
    }
}

impl<'a> Arguments<'a> {
    /// What a call of the function with this signature hands over, by the places of its parameters; a parameter that
    /// the call leaves out is `None`.
    ///
    /// Nothing where it can't be told which parameter gets what: an argument that is empty, without a name behind one
    /// with a name, with an unknown name, one too many, or a parameter named twice. Also for a text that no call of
    /// literals has: longer than 4 KiB or with brackets more than 4 deep.
    ///
    /// Cost: reads up to the closing bracket, at most four times.
    #[must_use]
    pub fn resolve(&self, signature: &Signature) -> Option<[Option<Value<'a>>; MAX_PARAMETERS]> {
        if !self.is_plain() {
            return None;
        }
        let mut values = [None; MAX_PARAMETERS];
        let mut named = false;
        for (index, Argument { name, value }) in self.iter().enumerate() {
            let place = match name {
                Some(name) => signature.place(name)?,
                None if named || index >= signature.parameters.len() => return None,
                None => index,
            };
            named = name.is_some();
            let slot = values.get_mut(place)?;
            if slot.is_some() || value == Value::Other(&[]) {
                return None;
            }
            *slot = Some(value);
        }
        Some(values)
    }

    /// Whether the closing bracket comes soon, and no bracket is deeper than that of a call of literals.
    fn is_plain(&self) -> bool {
        let mut depth = 0_usize;
        for token in Tokens::new(self.text_from()) {
            if token.offset > MAX_TEXT {
                return false;
            }
            match token.lexeme {
                b"(" | b"[" if depth >= MAX_NESTING => return false,
                b"(" | b"[" => depth = depth.saturating_add(1),
                b")" | b"]" if depth == 0 => return true,
                b")" | b"]" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        false
    }
}

const fn parameter(name: &'static str, takes: Takes) -> Parameter {
    Parameter { name, takes, default: None }
}

/// A parameter whose default does nothing and is the same in every version.
const fn zero(name: &'static str, takes: Takes) -> Parameter {
    Parameter { name, takes, default: Some(0.0) }
}

const fn function(function: &'static str, parameters: &'static [Parameter]) -> Signature {
    Signature { function, parameters, overridden: None }
}

/// A move in time `t`, which has priority over its acceleration and speed.
const fn timed(function: &'static str, parameters: &'static [Parameter]) -> Signature {
    Signature { function, parameters, overridden: Some(Overridden { places: &[1, 2], by: 3 }) }
}

use Takes::{Flag, JointSpeeds, Joints, List, Number, Pose, Target, Text, Whole};

/// An output and the level that it gets.
const LEVEL: &[Parameter] = &[parameter("n", Whole), parameter("b", Flag)];
const RELATIVE_LEVEL: &[Parameter] = &[parameter("n", Whole), parameter("f", Number)];
const OPTIMIZED: &[Parameter] =
    &[parameter("goal", Target), parameter("a", Number), parameter("v", Number), zero("r", Number)];
const PROCESS: &[Parameter] =
    &[parameter("pose", Target), parameter("a", Number), parameter("v", Number), zero("r", Number)];

/// Sorted by name.
static SIGNATURES: &[Signature] = &[
    function(
        "force_mode",
        &[
            parameter("task_frame", Pose),
            parameter("selection_vector", List(6)),
            parameter("wrench", List(6)),
            parameter("type", Whole),
            parameter("limits", List(6)),
        ],
    ),
    function(
        "movec",
        &[
            parameter("pose_via", Target),
            parameter("pose_to", Target),
            parameter("a", Number),
            parameter("v", Number),
            zero("r", Number),
            zero("mode", Whole),
        ],
    ),
    timed(
        "movej",
        &[parameter("q", Target), parameter("a", Number), parameter("v", Number), zero("t", Number), zero("r", Number)],
    ),
    timed(
        "movel",
        &[
            parameter("pose", Target),
            parameter("a", Number),
            parameter("v", Number),
            zero("t", Number),
            zero("r", Number),
        ],
    ),
    function("movep", PROCESS),
    function("optimovej", OPTIMIZED),
    function("optimovel", OPTIMIZED),
    function(
        "popup",
        &[
            parameter("s", Text),
            parameter("title", Text),
            zero("warning", Flag),
            zero("error", Flag),
            parameter("blocking", Flag),
        ],
    ),
    function("rpc_factory", &[parameter("type", Text), parameter("url", Text)]),
    function(
        "rtde_set_watchdog",
        &[parameter("variable_name", Text), parameter("min_frequency", Number), parameter("action", Text)],
    ),
    function("screw_driving", &[parameter("f", Number), parameter("v_limit", Number)]),
    function("servoc", PROCESS),
    function(
        "servoj",
        &[
            parameter("q", Joints),
            parameter("a", Number),
            parameter("v", Number),
            parameter("t", Number),
            parameter("lookahead_time", Number),
            parameter("gain", Number),
        ],
    ),
    function("set_analog_inputrange", &[parameter("port", Whole), parameter("range", Whole)]),
    function("set_analog_out", RELATIVE_LEVEL),
    function("set_configurable_digital_out", LEVEL),
    function("set_digital_out", LEVEL),
    function("set_flag", LEVEL),
    function("set_gravity", &[parameter("d", List(3))]),
    function("set_payload", &[parameter("m", Number), parameter("cog", List(3))]),
    function("set_payload_cog", &[parameter("CoG", List(3))]),
    function("set_payload_mass", &[parameter("m", Number)]),
    function("set_safety_mode_transition_hardness", &[parameter("type", Whole)]),
    function("set_standard_analog_out", RELATIVE_LEVEL),
    function("set_standard_digital_out", LEVEL),
    function(
        "set_target_payload",
        &[
            parameter("m", Number),
            parameter("cog", List(3)),
            parameter("inertia", List(6)),
            zero("transition_time", Number),
        ],
    ),
    function("set_tcp", &[parameter("pose", Pose), parameter("tcp_name", Text)]),
    function(
        "set_tool_communication",
        &[
            parameter("enabled", Flag),
            parameter("baud_rate", Whole),
            parameter("parity", Whole),
            parameter("stop_bits", Whole),
            parameter("rx_idle_chars", Number),
            parameter("tx_idle_chars", Number),
        ],
    ),
    function("set_tool_digital_out", LEVEL),
    function("set_tool_digital_output_mode", &[parameter("n", Whole), parameter("mode", Whole)]),
    function("set_tool_output_mode", &[parameter("mode", Whole)]),
    function("set_tool_voltage", &[parameter("voltage", Whole)]),
    function("sleep", &[parameter("t", Number)]),
    function("socket_open", &[parameter("address", Text), parameter("port", Whole), parameter("socket_name", Text)]),
    function("socket_send_byte", &[parameter("value", Whole), parameter("socket_name", Text)]),
    function("socket_send_int", &[parameter("value", Whole), parameter("socket_name", Text)]),
    function("socket_send_line", &[parameter("str", Text), parameter("socket_name", Text)]),
    function("socket_send_string", &[parameter("str", Text), parameter("socket_name", Text)]),
    function("speedj", &[parameter("qd", JointSpeeds), parameter("a", Number), parameter("t", Number)]),
    function(
        "speedl",
        &[parameter("xd", List(6)), parameter("a", Number), parameter("t", Number), parameter("aRot", Number)],
    ),
    function("stopj", &[parameter("a", Number)]),
    function("stopl", &[parameter("a", Number), parameter("aRot", Number)]),
    function("textmsg", &[parameter("s1", Text), parameter("s2", Text)]),
    function(
        "tool_wrench_limit_set",
        &[
            parameter("frame_offset", Pose),
            parameter("Fx", Number),
            parameter("Fy", Number),
            parameter("Fz", Number),
            parameter("Mx", Number),
            parameter("My", Number),
            parameter("Mz", Number),
        ],
    ),
    function("write_output_boolean_register", &[parameter("address", Whole), parameter("value", Flag)]),
    function("write_output_float_register", &[parameter("address", Whole), parameter("value", Number)]),
    function("write_output_integer_register", &[parameter("address", Whole), parameter("value", Whole)]),
    function("write_port_bit", &[parameter("address", Whole), parameter("value", Flag)]),
    function("write_port_register", &[parameter("address", Whole), parameter("value", Whole)]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Category;

    #[test]
    fn the_table_is_sorted_and_names_functions_of_the_catalogue() {
        assert!(SIGNATURES.windows(2).all(|pair| matches!(pair, [a, b] if a.function < b.function)));
        for signature in SIGNATURES {
            let name = signature.function.as_bytes();
            // Else a definition of the same name would make its calls local, and no bound would be looked at.
            assert!(Category::built_in(name).is_some(), "{}", signature.function);
            assert_eq!(Signature::of(name), Some(signature));
            assert!((1..=MAX_PARAMETERS).contains(&signature.parameters.len()), "{}", signature.function);
            for (place, parameter) in signature.parameters.iter().enumerate() {
                assert_eq!(signature.place(parameter.name.as_bytes()), Some(place), "{}", signature.function);
            }
            if let Some(overridden) = signature.overridden {
                let names = overridden.places.iter().chain([&overridden.by]);
                let names: std::vec::Vec<_> = names.map(|place| signature.parameters[*place].name).collect();
                assert_eq!(names, ["a", "v", "t"], "{}", signature.function);
            }
        }
        assert_eq!(Signature::of(b"movejj"), None);
    }

    #[test]
    fn the_readme_lists_the_table() {
        let readme = include_str!("../README.md");
        for signature in SIGNATURES {
            let names = signature.parameters.iter().map(|parameter| match parameter.default {
                Some(default) => std::format!("{}={default}", parameter.name),
                None => parameter.name.into(),
            });
            let row = std::format!("| `{}({})` |", signature.function, names.collect::<std::vec::Vec<_>>().join(", "));
            assert!(readme.contains(&row), "{row}");
        }
    }

    fn resolved(text: &str) -> Option<[Option<Value<'_>>; MAX_PARAMETERS]> {
        Arguments::after(text.as_bytes()).resolve(Signature::of(b"movej").unwrap())
    }

    #[test]
    fn names_and_places_are_one() {
        let number = |value| Some(Value::Number(value));
        let values = |text| resolved(text).map(|[_, a, v, t, r, ..]| [a, v, t, r]);
        assert_eq!(values("x, 1, 2)"), Some([number(1.0), number(2.0), None, None]));
        assert_eq!(values("x, v=2, a=1) + f(9"), Some([number(1.0), number(2.0), None, None]));
        assert_eq!(values("r=4, q=x)"), Some([None, None, None, number(4.0)]));
        assert_eq!(values(")"), Some([None; 4]));
        assert_eq!(values("x, 1, # a=9\n r=4)"), Some([number(1.0), None, None, number(4.0)]));
        assert_eq!(values("x, f(g(h([1]))))"), Some([Some(Value::Other(b"f(g(h([1])))")), None, None, None]));
    }

    #[test]
    fn what_has_two_readings_resolves_to_nothing() {
        for text in [
            "x, a=1, 2)",
            "x, a=1, a=2)",
            "x, 1, a=2)",
            "q=x, 1)",
            "x, A=1)",
            "x, b=1)",
            "x, 1, 2, 3, 4, 5)",
            "x, , 1)",
            "x,)",
            ",)",
            "x, a=)",
            "x, 1",
            "x, f(g(h(i([1])))))",
        ] {
            assert_eq!(resolved(text), None, "{text}");
        }
        let long = std::format!("x, 1 #{}\n)", "-".repeat(MAX_TEXT));
        assert_eq!(resolved(&long), None);
    }
}
