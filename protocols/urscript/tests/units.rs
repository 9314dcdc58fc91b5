//! Where units end, what kind they are, and which texts have more than one reading.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use dissect::Step;
use urscript::{Dialect, Doubts, Kind, MAX_DEPTH, MAX_TOKEN, MAX_UNIT, Scanner};

/// Units of `text`: kind, doubts, text; and what is left.
fn split(text: &[u8], dialect: Dialect) -> (Vec<(Kind, Doubts, String)>, usize) {
    let (mut units, mut rest) = (Vec::new(), text);
    while let Step::Whole { unit, len } = Scanner::default().step(rest, dialect).unwrap() {
        assert_eq!(unit.ambiguous, !unit.doubts.is_empty());
        units.push((unit.kind, unit.doubts, String::from_utf8_lossy(unit.text).into_owned()));
        rest = &rest[len..];
    }
    (units, rest.len())
}

fn client(text: &str) -> Vec<(Kind, Doubts, String)> {
    let (units, left) = split(text.as_bytes(), Dialect::Client);
    assert_eq!(left, 0, "{text:?}: {units:?}");
    units
}

/// The kinds of units without doubt.
fn kinds(text: &str) -> Vec<Kind> {
    let units = client(text);
    assert!(units.iter().all(|unit| unit.1.is_empty()), "{units:?}");
    units.into_iter().map(|unit| unit.0).collect()
}

#[test]
fn plain_units() {
    use Kind::{Bare, Blank, Program, Secondary, Statement};
    assert_eq!(kinds("set_digital_out(0, True)\n"), [Statement]);
    assert_eq!(kinds("\n  \r\n# note\r\n\tmovej(q)\n"), [Blank, Blank, Blank, Statement]);
    assert_eq!(
        kinds("def a():\n  movej(q)\nend\nsec b():\r\n set_flag(1, True)\r\nend # done\r\n"),
        [Program, Secondary]
    );
    assert_eq!(kinds("power on\nsyncx()\nSet Unlock  Protective STOP\nset speed 0.5\n"), [Bare, Statement, Bare, Bare]);
    assert_eq!(kinds("def a(): movej(q) end\nx = 3\nhalt\n"), [Program, Statement, Statement]);
    assert_eq!(kinds("  $ 1 \"Robot Program\"\n$ 2 \"MoveJ\" \"noBreak\"\n"), [Blank, Blank]);
    assert_eq!(kinds("if x == 1:\n  movej(q)\nelse:\n  stopj(2)\nend\n"), [Statement]);
    assert_eq!(kinds("set_flag(0, True) set_flag(1, True)\n"), [Statement]);
    assert_eq!(kinds("x = 1.\ny = 1.5e-3\n"), [Statement, Statement]);
}

#[test]
fn free_form_inside_a_program() {
    let text = "def rtde():\n# HEADER\n    global reg = # float offset\n0    global other = # int offset\n24\n\
                thread watch():\n while True:\n  if a: b() end\n  sync()\n end\nend\n run watch()\nend\n";
    assert_eq!(kinds(text), [Kind::Program]);
}

#[test]
fn strings_and_comments_hide_structure() {
    let text = "def a():\n textmsg(\"def x(): end # no \\ ' end\")\n # end def \"\n textmsg('it is fine')\nend\nhalt\n";
    assert_eq!(kinds(text), [Kind::Program, Kind::Statement]);
}

#[test]
fn nested_definitions_close_one_by_one() {
    let text = "def a():\n def b():\n  if x:\n   while y:\n    sync()\n   end\n  elif z:\n   sync()\n  else:\n   sync()\n  end\n end\n b()\nend\n";
    assert_eq!(kinds(text), [Kind::Program]);
}

/// One unit with exactly these doubts, then a clean one.
fn doubtful(text: &str, doubts: Doubts) {
    let units = client(&format!("{text}\nhalt\n"));
    assert_eq!(units.len(), 2, "{text:?}: {units:?}");
    assert_eq!(units[0].1, doubts, "{text:?}: {} is not {doubts}", units[0].1);
    assert!(units[1].1.is_empty() && units[1].2 == "halt", "{units:?}");
}

#[test]
fn texts_with_more_than_one_reading() {
    use Doubts as D;
    doubtful("global x = # comment\n0 global y = 1", D::CONTINUED_LINE);
    doubtful("x =\npower on", D::CONTINUED_LINE | D::BARE_LINE);
    doubtful("textmsg(\"a\nend\")", D::LINE_END_IN_STRING | D::LINE_END_IN_BRACKET);
    doubtful("textmsg(\"a\nset_flag(1, True)\n\")", D::LINE_END_IN_STRING | D::LINE_END_IN_BRACKET);
    doubtful("movej(\n[0,0,0,0,0,0])", D::LINE_END_IN_BRACKET);
    doubtful("def a():\n movej(\n  q)\nend", D::LINE_END_IN_BRACKET);
    doubtful("textmsg(\"a\\\" + b + \\\"c\")", D::ESCAPED_QUOTE | D::STRAY_BYTE);
    doubtful("(0, True)", D::FRAGMENT);
    doubtful("[3] = True", D::FRAGMENT);
    doubtful("= 3", D::FRAGMENT);
    doubtful("0 global y = 2", D::FRAGMENT);
    doubtful("else:", D::FRAGMENT);
    doubtful("end", D::FRAGMENT | D::UNBALANCED);
    doubtful("def a():\n sync()\nend movej(q)", D::AFTER_END);
    doubtful("def a():\n sync()\nend def b(): sync() end", D::AFTER_END);
    doubtful("def a():\n sync()\nend end", D::AFTER_END | D::UNBALANCED);
    doubtful("def a(): sync() end power on", D::AFTER_END);
    doubtful("def a():\n x = 1 if y:\n sync()\n end\nend", D::BLOCK_IN_LINE);
    doubtful("def a():\n sync() end", D::BLOCK_IN_LINE);
    doubtful("sync() def a():\n movej(q)\nend", D::BLOCK_IN_LINE);
    doubtful("def a():\n sec b():\n  sync()\n end\nend", D::UNBALANCED);
    doubtful("def\na():\n sync()\nend", D::HEADER);
    doubtful("def (): sync() end", D::HEADER);
    doubtful("def a: sync() end", D::HEADER);
    doubtful("def a():\n power on\nend", D::BARE_LINE);
    for number in ["5", "+5.0", "-0.5", ".5", "-.5e1"] {
        doubtful(&format!("def a():\n  SET  speed {number} # x\nend"), D::BARE_LINE);
        doubtful(&format!("if True:\n\tset speed {number}\nend"), D::BARE_LINE);
    }
    doubtful("def a():\n Set  Robotmode RUN # x\nend", D::BARE_LINE);
    doubtful("load program", D::WORDS);
    doubtful("shutdown", D::WORDS);
    doubtful("power on now", D::WORDS);
    doubtful("run programs", D::WORDS);
    doubtful("power on(1)", D::WORDS);
    doubtful("x = 0end", D::STRAY_BYTE);
    doubtful("x = 1; y = 2", D::STRAY_BYTE);
    doubtful("\u{feff}x = 1", D::STRAY_BYTE | D::FRAGMENT);
    doubtful("x = {1}", D::STRAY_BYTE);
    doubtful("# note\rmovej(q)", D::STRAY_BYTE);
    doubtful("x = 1\rpower on", D::STRAY_BYTE);
    doubtful("textmsg(\"a\0\")", D::STRAY_BYTE);
    doubtful("# a\0", D::STRAY_BYTE);
    doubtful("$ 1 \"a\" movej(q)", D::LINE_MARKER);
    doubtful("x = 1 $ 1 \"a\"", D::LINE_MARKER);
    doubtful("textmsg('# not a comment')", D::SINGLE_QUOTES);
    doubtful("textmsg('the end')", D::SINGLE_QUOTES);
    doubtful("x = (1]", D::UNBALANCED);
    doubtful("x = 1)", D::UNBALANCED);
    doubtful("x = (end)", D::UNBALANCED);
}

#[test]
fn the_later_boundary_counts() {
    // Free-form the string ends behind the backslash, with escapes two lines later: the unit ends there.
    let units = client("textmsg(\"a\\\")\n set_flag(1, True)\n x\\\"\")\nhalt\n");
    assert_eq!(units.len(), 2, "{units:?}");
    assert!(units[0].2.ends_with("x\\\"\")"));
    // Line by line the string holds the head of a program.
    let (units, left) = split(b"textmsg(\"\ndef a():\n\")\nhalt\n", Dialect::Client);
    assert!(units.is_empty() && left > 0, "{units:?}");
    // A quote that nobody closes never ends.
    let (units, left) = split(b"textmsg(\"a)\nhalt\n", Dialect::Client);
    assert!(units.is_empty() && left > 0, "{units:?}");
}

#[test]
fn bytes_that_are_no_utf_8_may_stand_in_comments_and_strings() {
    let (units, _) = split(b"textmsg(\"\xff\xfe\") # \xe4\nx\xe4 = 1\n", Dialect::Client);
    assert!(units[0].1.is_empty());
    assert_eq!(units[1].1, Doubts::STRAY_BYTE);
}

#[test]
fn the_name_and_the_text() {
    let text = b"\tdef  my_program ( ):\n sync()\nend\t\r\n";
    let Step::Whole { unit, len } = Scanner::default().step(text, Dialect::Client).unwrap() else { panic!() };
    assert_eq!((unit.name, len), (Some(&b"my_program"[..]), text.len()));
    assert!(unit.text.starts_with(b"def") && unit.text.ends_with(b"end"));
}

#[test]
fn interpreter_lines() {
    let (units, left) = split(
        b"movej(q) movej(p) if x: y() end z = 1\nabort\nStateLastExecuted\n\nfrobnicate\nif x:\n y()\nend\nhalt\n",
        Dialect::Interpreter,
    );
    let doubts: Vec<_> = units.iter().map(|unit| unit.1).collect();
    let none = Doubts::NONE;
    assert_eq!(doubts, [none, none, none, none, Doubts::WORDS, Doubts::CONTINUED_LINE, none]);
    assert!(units.iter().all(|unit| unit.0 == Kind::Interpreter || (unit.0 == Kind::Blank && unit.2.is_empty())));
    assert_eq!(left, 0);
}

#[test]
fn bare_commands_are_named() {
    let bare = |text: &[u8], dialect| match Scanner::default().step(text, dialect).unwrap() {
        Step::Whole { unit, .. } => (unit.bare(), unit.bare_value(), unit.facts().count()),
        Step::Partial { .. } => panic!(),
    };
    assert_eq!(bare(b"Power  OFF # x\n", Dialect::Client), (Some("power off"), None, 0));
    assert_eq!(bare(b"set speed .25\n", Dialect::Client), (Some("set speed"), Some(0.25), 0));
    assert_eq!(bare(b"run program\n", Dialect::Client), (Some("run program"), None, 0));
    assert_eq!(bare(b"abort\n", Dialect::Interpreter), (Some("abort"), None, 0));
    assert_eq!(bare(b"power on\n", Dialect::Interpreter).0, None);
}

#[test]
fn limits() {
    let step =
        |text: &[u8]| Scanner::default().step(text, Dialect::Client).map(|step| matches!(step, Step::Whole { .. }));
    let nested = |depth: usize| "if x:\n".repeat(depth) + &"end\n".repeat(depth);
    assert_eq!(step(nested(MAX_DEPTH).as_bytes()), Ok(true));
    assert_eq!(step(nested(MAX_DEPTH + 1).as_bytes()).unwrap_err().field, "URScript nesting");
    let brackets = |depth: usize| format!("x = {}1{}\n", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(step(brackets(MAX_DEPTH).as_bytes()), Ok(true));
    assert_eq!(step(brackets(MAX_DEPTH + 1).as_bytes()).unwrap_err().field, "URScript brackets");
    let comment = |len: usize| format!("#{}\n", "a".repeat(len - 1));
    assert_eq!(step(comment(MAX_TOKEN).as_bytes()), Ok(true));
    assert_eq!(step(comment(MAX_TOKEN + 1).as_bytes()).unwrap_err().field, "URScript token length");
    assert_eq!(step(&vec![b'a'; MAX_TOKEN + 1]).unwrap_err().field, "URScript token length");
    let mut long = b"def a():\n".to_vec();
    long.resize(MAX_UNIT - 4, b'\n');
    assert_eq!(step(&long), Ok(false));
    let whole = [&long[..], b"end\n"].concat();
    assert_eq!(step(&whole), Ok(true));
    assert_eq!(step(&[&long[..], b" end\n"].concat()).unwrap_err().field, "URScript unit length");
}
