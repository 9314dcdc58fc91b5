//! Command lines: what is a command, what is outside the grammar, and properties that hold for any bytes.
#![allow(missing_docs, clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic)]

use dashboard::{Argument, GrammarError, Line, MAX_FAILURE_LINE, MAX_LINE, Outcome, ReplyLine, Verb};
use dissect::Step;
use proptest::prelude::*;

fn verb(text: &str) -> Result<&'static str, GrammarError> {
    Line::read(text.as_bytes()).verb.map(|verb| verb.name)
}

#[test]
fn case_and_blanks_do_not_count() {
    for text in ["power on", "Power ON", "  pOwEr     oN  "] {
        assert_eq!(verb(text), Ok("power on"));
    }
    assert_eq!(verb("PolyscopeVersion"), Ok("polyscopeversion"));
    assert_eq!(verb("addToLog shift 2 done: 100 %!"), Ok("addtolog"));
    assert_eq!(verb("set operational mode AUTOMATIC"), Ok("set operational mode"));
    assert_eq!(Line::read(b"set operational mode AUTOMATIC").choice(), Some("automatic"));
}

#[test]
fn the_longest_verb_wins() {
    let line = Line::read(b"load  Installation  default.installation ");
    assert_eq!(line.verb, Ok(Verb::named("load installation").unwrap()));
    assert_eq!(line.argument, b"default.installation");
    // Neither reading of these may slip through as `load` of a file.
    assert_eq!(verb("load installation"), Err(GrammarError::BadArgument));
    assert_eq!(verb("LOAD INSTALLATION  "), Err(GrammarError::BadArgument));
    assert_eq!(verb("load installation.urp"), Ok("load"));
}

#[test]
fn outside_the_grammar() {
    use GrammarError::{BadArgument, ControlByte, Empty, ShellMetacharacter, UnknownCommand};
    let rows: &[(&[u8], GrammarError)] = &[
        (b"", Empty),
        (b"   ", Empty),
        (b"frobnicate", UnknownCommand),
        (b"playx", UnknownCommand),
        (b"power", UnknownCommand),
        (b"poweron", UnknownCommand),
        ("\u{212a}ill".as_bytes(), UnknownCommand),
        (b"play now", BadArgument),
        (b"shutdown -h now", BadArgument),
        (b"load", BadArgument),
        (b"popup", BadArgument),
        (b"popup -f /etc/passwd", BadArgument),
        (b"load ../../etc/passwd", BadArgument),
        (b"load a  b.urp", BadArgument),
        (b"load *.urp", BadArgument),
        (b"set operational mode", BadArgument),
        (b"set operational mode root", BadArgument),
        (b"generate flight report all", BadArgument),
        (b"get variable a b", BadArgument),
        (b"play\rshutdown", ControlByte),
        (b"power\ton", ControlByte),
        (b"\tplay", ControlByte),
        (b"popup a\0b", ControlByte),
        (b"popup \xff", ControlByte),
        ("popup a\u{85}shutdown".as_bytes(), ControlByte),
        ("popup a\u{2028}shutdown".as_bytes(), ControlByte),
        (b"popup $(reboot)", ShellMetacharacter),
        (b"addToLog `id`", ShellMetacharacter),
        (b"load a.urp; reboot", ShellMetacharacter),
        (b"load a.urp | nc 1.2.3.4 5", ShellMetacharacter),
        (b"generate support file /tmp && reboot", ShellMetacharacter),
        (b"popup it's", ShellMetacharacter),
        (b"popup <html>", ShellMetacharacter),
        (b"popup a\\nb", ShellMetacharacter),
        (b"anything; reboot", ShellMetacharacter),
        (b"get variable ${PATH}", ShellMetacharacter),
    ];
    for (text, error) in rows {
        assert_eq!(Line::read(text).verb, Err(*error), "{}", text.escape_ascii());
    }
}

#[test]
fn lines_in_one_segment() {
    let mut bytes: &[u8] = b"robotmode\r\nis in remote control\n\nquit\nload /programs/a";
    let mut seen = Vec::new();
    while let Ok(Step::Whole { unit, len }) = Line::step(bytes) {
        seen.push(unit.verb.map(|verb| verb.name));
        bytes = &bytes[len..];
    }
    assert_eq!(seen, [Ok("robotmode"), Ok("is in remote control"), Err(GrammarError::Empty), Ok("quit")]);
    assert_eq!(Line::step(bytes), Ok(Step::Partial { needed: bytes.len() + 1 }));
}

#[test]
fn the_cap_is_exact() {
    let mut bytes = vec![b'a'; MAX_LINE];
    assert!(Line::step(&bytes[..MAX_LINE - 1]).is_ok());
    assert!(Line::step(&bytes).is_err());
    bytes[MAX_LINE - 1] = b'\n';
    assert!(matches!(Line::step(&bytes), Ok(Step::Whole { len: MAX_LINE, .. })));
}

#[test]
fn a_refused_line_is_answered_in_its_own_words() {
    let answer = |text: &[u8]| {
        let mut buffer = [0; MAX_FAILURE_LINE];
        String::from_utf8(Line::read(text).failure_line(&mut buffer).unwrap().to_vec()).unwrap()
    };
    assert_eq!(answer(b"PLAY"), "Failed to execute: play\n");
    assert_eq!(answer(b"load  /programs/x.urp"), "Error while loading program: /programs/x.urp\n");
    assert_eq!(answer(b"load installation d.installation"), "Failed to load installation: d.installation\n");
    assert_eq!(answer(b"bad \x00 $(x)"), "could not understand: 'bad ? $(x)'\n");
    assert_eq!(Line::read(b"play").failure_line(&mut [0; 8]), None);
}

fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let verbs: Vec<Vec<u8>> = Verb::all().iter().map(|verb| verb.name.as_bytes().to_vec()).collect();
    let piece = prop_oneof![
        proptest::sample::select(verbs),
        proptest::sample::select(vec![
            b" ".to_vec(),
            b"\n".to_vec(),
            b"\r\n".to_vec(),
            b";".to_vec(),
            b"\xe2\x80\xa8".to_vec()
        ]),
        proptest::collection::vec(any::<u8>(), 0..4),
        Just(b"/programs/a.urp".to_vec()),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn units(bytes: &[u8], cut: usize) -> Vec<(Vec<u8>, Result<&'static Verb, GrammarError>)> {
    let (mut units, mut start, mut end) = (Vec::new(), 0, 0);
    while end < bytes.len() {
        end = (end + cut).min(bytes.len());
        while let Ok(Step::Whole { unit, len }) = Line::step(&bytes[start..end]) {
            assert!(len >= 1 && start + len <= end);
            units.push((unit.text.to_vec(), unit.verb));
            start += len;
        }
    }
    units
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_lines(bytes in nasty(), cut in 1usize..9) {
        prop_assert_eq!(units(&bytes, bytes.len().max(1)), units(&bytes, cut));
        let _ = ReplyLine::step(&bytes).map(|step| step.map(|line| line.read(None)));
    }

    #[test]
    fn an_accepted_line_holds_nothing_a_shell_acts_on(bytes in nasty()) {
        for (text, verb) in units(&bytes, bytes.len().max(1)) {
            let line = Line::read(&text);
            let mut buffer = [0; MAX_FAILURE_LINE];
            let answer = line.failure_line(&mut buffer).unwrap();
            prop_assert_eq!(answer.iter().filter(|byte| **byte == b'\n').count(), 1);
            if let Ok(verb) = verb {
                prop_assert!(!text.iter().any(|byte| b";|&`$()<>\\\"'\r\t\0".contains(byte)));
                prop_assert_eq!(line.argument.is_empty(), verb.argument == Argument::None);
                prop_assert_eq!(verb.outcome(answer), Outcome::Failed);
            }
        }
    }
}
