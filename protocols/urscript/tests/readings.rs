//! Whoever reads an unambiguous unit in whatever way finds nothing in it that its facts do not tell: readers that are much
//! simpler than a controller's, each taking quotes, escapes, line ends and markers in another way, over texts made of the
//! pieces that readers disagree about.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail loudly"
)]

use dissect::Step;
use proptest::prelude::*;
use urscript::{BARE_COMMANDS, Dialect, Fact, Kind, Scanner, Unit};

/// How a reader takes what is not public.
#[derive(Clone, Copy, Debug)]
struct Reader {
    /// Whether `'` begins a string too.
    single: bool,
    /// Whether a backslash keeps a string open.
    escapes: bool,
    /// Whether a string ends with its line.
    lines: bool,
    /// Whether `$` begins a comment.
    markers: bool,
}

impl Reader {
    fn all() -> impl Iterator<Item = Self> {
        (0..16_u8).map(|bits| Self {
            single: bits & 1 != 0,
            escapes: bits & 2 != 0,
            lines: bits & 4 != 0,
            markers: bits & 8 != 0,
        })
    }

    /// The text without what stands in strings and comments.
    fn code(self, text: &str) -> String {
        let (mut out, mut string, mut comment, mut escaped) = (String::new(), None, false, false);
        for c in text.chars() {
            let (was_string, was_comment) = (string.is_some(), comment);
            match c {
                '\n' => {
                    comment = false;
                    if self.lines {
                        string = None;
                    }
                    escaped = false;
                    out.push('\n');
                    continue;
                }
                _ if comment => {}
                _ if escaped => escaped = false,
                '\\' if string.is_some() && self.escapes => escaped = true,
                _ if string == Some(c) => string = None,
                '"' if string.is_none() => string = Some(c),
                '\'' if string.is_none() && self.single => string = Some(c),
                '#' if string.is_none() => comment = true,
                '$' if string.is_none() && self.markers => comment = true,
                _ => {}
            }
            // A string is a value and no blank.
            out.push(match (was_string || string.is_some(), was_comment || comment) {
                (true, _) => '"',
                (false, true) => ' ',
                (false, false) => c,
            });
        }
        out
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// What follows each whole word `name`, without blanks and line ends.
fn after<'t>(code: &'t str, name: &str) -> Vec<&'t str> {
    let places = code.match_indices(name).map(|(at, _)| at);
    let whole = places.filter(|at| !code[..*at].ends_with(is_word) && !code[at + name.len()..].starts_with(is_word));
    whole.map(|at| code[at + name.len()..].trim_start()).collect()
}

/// Whether the reader finds a call of this function.
fn calls(code: &str, name: &str) -> bool {
    after(code, name).iter().any(|rest| rest.starts_with('('))
}

/// Whether the reader finds an assignment to an element of it.
fn assigns(code: &str, name: &str) -> bool {
    after(code, name).iter().any(|rest| {
        let Some(rest) = rest.strip_prefix('[') else { return false };
        let Some((_, rest)) = rest.split_once(']') else { return false };
        let rest = rest.trim_start();
        rest.starts_with('=') && !rest.starts_with("==")
    })
}

/// Bare commands as whole lines, in any letter case.
fn bare_lines(text: &str) -> usize {
    let is_bare = |line: &str| {
        let words: Vec<_> = line.split(['#', '$']).next().unwrap().split_whitespace().collect();
        let line = words.join(" ").to_ascii_lowercase();
        let speed = line.strip_prefix("set speed ").is_some_and(|number| number.parse::<f64>().is_ok());
        speed || (line != "set speed" && BARE_COMMANDS.contains(&&*line))
    };
    text.lines().filter(|line| is_bare(line)).count()
}

const PIECES: &[&str] = &[
    "def a():\n",
    "sec b():\n",
    "end\n",
    "end",
    "if True:\n",
    "if x: ",
    "elif y:\n",
    "while z:\n",
    "thread t():\n",
    "movej(q)\n",
    "movej(q)",
    "powerdown()\n",
    "powerdown()",
    "powerdown",
    "()",
    "(\n)",
    " (",
    "digital_out[0] = True\n",
    "digital_out[0]",
    "[0]=1",
    " = True",
    "== True\n",
    "power on\n",
    "Power  ON",
    "set speed +5\n",
    "set speed 0.5",
    "set unlock protective stop\n",
    "\"",
    "'",
    "\\",
    "\\\"",
    "#",
    "$ 1 \"x\"\n",
    "$ 1 'x",
    "\n",
    " ",
    "\t",
    "\r",
    "\r\n",
    "x = ",
    "\"a\"\n",
    "'b'",
    "textmsg(\"",
    "\")\n",
    "run ",
    "global ",
    "halt\n",
    ",",
    ":",
    ".",
    "q",
    "1",
    "0 ",
    "1.e",
    "-",
    "end)",
    "(",
    ")",
    "[",
    "]",
    "not ",
];

fn units(text: &str, dialect: Dialect, mut each: impl FnMut(&Unit<'_>)) {
    let mut scanner = Scanner::default();
    let mut rest = text.as_bytes();
    while let Ok(Step::Whole { unit, len }) = scanner.step(rest, dialect) {
        each(&unit);
        rest = &rest[len..];
    }
}

/// Checks each unit that may be let through; says how many there were.
fn check(text: &str, dialect: Dialect) -> usize {
    let mut clear = 0;
    units(text, dialect, |unit| {
        if unit.ambiguous {
            return;
        }
        clear += 1;
        let own = std::str::from_utf8(unit.text).unwrap();
        let told = |wanted: &dyn Fn(&Fact<'_>) -> bool| unit.facts().any(|fact| wanted(&fact));
        let calls_told = told(&|fact| {
            // A method of whatever object: a fact of its own, which no list of functions covers.
            matches!(fact, Fact::Call { name: b"powerdown", .. } | Fact::Method { name: b"powerdown", .. })
        });
        let assigns_told = told(&|fact| matches!(fact, Fact::IndexAssign { target: b"digital_out" }));
        for reader in Reader::all() {
            let code = reader.code(own);
            assert!(calls_told || !calls(&code, "powerdown"), "{reader:?} finds a call in {own:?}");
            assert!(assigns_told || !assigns(&code, "digital_out"), "{reader:?} finds an assignment in {own:?}");
        }
        if dialect == Dialect::Client {
            assert_eq!(bare_lines(own), usize::from(unit.kind == Kind::Bare), "bare commands in {own:?}");
        }
    });
    clear
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_reader_finds_more_than_the_facts_tell(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 1..14), interpreter: bool,
    ) {
        check(&format!("{}\n", pieces.concat()), if interpreter { Dialect::Interpreter } else { Dialect::Client });
    }

    /// Inside a program, where most of what is let through stands.
    #[test]
    fn no_reader_finds_more_in_a_program(pieces in prop::collection::vec(prop::sample::select(PIECES), 1..8)) {
        check(&format!("def p():\n{}\nend\nhalt\n", pieces.concat()), Dialect::Client);
    }
}

/// The readers above see what they are to look for, and texts that are clear are checked at all.
#[test]
fn the_readers_see() {
    let reader = Reader { single: false, escapes: false, lines: false, markers: false };
    assert!(calls(&reader.code("x = powerdown ()"), "powerdown") && !calls("powerdowns()", "powerdown"));
    assert!(!calls(&reader.code("\"powerdown()\" # powerdown()"), "powerdown"));
    assert!(assigns("digital_out [ 3 ] = True", "digital_out") && !assigns("digital_out[3] == True", "digital_out"));
    assert_eq!(bare_lines("Power  ON # x\nset speed -1\npower on now\nset speed"), 2);
    assert_eq!(check("def p():\n  movej(q)\n  x = \"a # b\"\nend\npowerdown()\npower on\n", Dialect::Client), 3);
}
