//! What holds for any bytes: no panic, any cut gives the same units, layout does not change the hash.
#![allow(missing_docs, clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use dissect::Step;
use proptest::prelude::*;
use urscript::{Dialect, Fact, Kind, Scanner, Tokens};
use zerocopy::{FromBytes, IntoBytes};

const PIECES: &[&str] = &[
    "def ",
    "sec ",
    "thread ",
    "if ",
    "while ",
    "end",
    "else",
    "elif ",
    "global ",
    "run ",
    "halt",
    "name",
    "p",
    "movej",
    "digital_out",
    "(",
    ")",
    "[",
    "]",
    ":",
    ",",
    "=",
    "==",
    ".",
    "+",
    "-",
    "\"",
    "'",
    "\\",
    "\\\"",
    "#",
    "$",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\r",
    " ",
    "\t",
    "0",
    "1.5",
    "2e3",
    "0end",
    "power on",
    "set speed 0.5",
    "abort",
    "\0",
    "\u{e4}",
    "textmsg(\"end\")\n",
    "def a():\n",
    "end\n",
    "x = 1\n",
    "$ 1 \"a\"\n",
];

const LEXEMES: &[&str] = &[
    "def",
    "sec",
    "end",
    "name",
    "p",
    "_x9",
    "True",
    "(",
    ")",
    "[",
    "]",
    ":",
    ",",
    "=",
    "==",
    "!=",
    "<=",
    "<",
    "+",
    "*",
    "0",
    "1.5",
    "1.",
    ".5",
    "2e3",
    "1.5e-3",
    "\"\"",
    "\"a # $ b\"",
    "'end'",
    "\"\\\"",
];

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        12 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn dialect() -> impl Strategy<Value = Dialect> {
    proptest::sample::select(&[Dialect::Client, Dialect::Interpreter, Dialect::ScriptSender][..])
}

type Found = (Kind, bool, Option<Vec<u8>>, Vec<u8>, [u8; 32]);

/// Units found when `cut` says how many bytes arrive each time; the state is handed over as bytes between calls.
fn units(bytes: &[u8], dialect: Dialect, mut cut: impl FnMut() -> usize) -> (Vec<Found>, usize, bool) {
    let (mut found, mut start, mut end) = (Vec::new(), 0, 0);
    let mut scanner = Scanner::default();
    loop {
        match scanner.step(&bytes[start..end], dialect) {
            Ok(Step::Whole { unit, len }) => {
                assert!(len >= 1 && start + len <= end);
                assert_eq!(scanner, Scanner::default());
                found.push((
                    unit.kind,
                    unit.ambiguous,
                    unit.name.map(<[u8]>::to_vec),
                    unit.text.to_vec(),
                    unit.token_hash(),
                ));
                start += len;
            }
            Ok(Step::Partial { needed }) => {
                assert!(needed > end - start);
                if end == bytes.len() {
                    return (found, start, true);
                }
                end = (end + cut().max(1)).min(bytes.len());
                scanner = Scanner::read_from_bytes(scanner.as_bytes()).unwrap();
            }
            Err(_) => return (found, start, false),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_units(bytes in text(), dialect in dialect(), cuts in proptest::collection::vec(1usize..20, 1..20)) {
        let whole = units(&bytes, dialect, || usize::MAX / 2);
        let mut next = cuts.iter().cycle();
        prop_assert_eq!(&whole, &units(&bytes, dialect, || *next.next().unwrap()));
        prop_assert_eq!(&whole, &units(&bytes, dialect, || 1));
    }

    #[test]
    fn any_bytes_and_any_state_are_read_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        state in proptest::collection::vec(any::<u8>(), size_of::<Scanner>()),
        dialect in dialect(),
    ) {
        let mut scanner = Scanner::read_from_bytes(&state).unwrap();
        for _ in 0..3 {
            if let Ok(Step::Whole { unit, len }) = scanner.step(&bytes, dialect) {
                let _ = (unit.facts().count(), unit.token_hash(), unit.bare(), unit.bare_value(), len);
            }
        }
    }

    #[test]
    fn facts_are_read_without_panic(bytes in text()) {
        for (_, _, _, text, _) in units(&bytes, Dialect::Client, || usize::MAX / 2).0 {
            let line = [&text[..], b"\n"].concat();
            if let Ok(Step::Whole { unit, .. }) = Scanner::default().step(&line, Dialect::Client) {
                for fact in unit.facts() {
                    if let Fact::Call { arguments, .. } = fact {
                        prop_assert!(arguments.text().len() <= line.len());
                        prop_assert!(arguments.iter().count() <= line.len());
                    }
                }
            }
        }
    }

    #[test]
    fn a_unit_without_doubt_stands_alone(bytes in text(), dialect in dialect()) {
        // What was let through is framed alike by a reader that starts there, whatever was cut out before.
        for (kind, ambiguous, name, text, hash) in units(&bytes, dialect, || usize::MAX / 2).0 {
            if !ambiguous {
                let line = [&text[..], b"\n"].concat();
                let again = units(&line, dialect, || usize::MAX / 2);
                prop_assert_eq!(again.0, vec![(kind, ambiguous, name, text, hash)]);
            }
        }
    }

    #[test]
    fn layout_does_not_change_the_hash(
        lexemes in proptest::collection::vec(proptest::sample::select(LEXEMES), 0..60),
        gaps in proptest::collection::vec(0usize..4, 1..20),
    ) {
        let mut next = gaps.iter().cycle();
        let mut gap = || [" ", "\r\n\t", " # end\n", "\n$ 3 \"end\"\n"][*next.next().unwrap()];
        let text: String = lexemes.iter().flat_map(|lexeme| [gap(), lexeme]).collect();
        let plain = lexemes.join(" ");
        let tokens = |text: &str| {
            let tokens = Tokens::new(text.as_bytes()).code();
            tokens.map(|token| (token.kind, token.lexeme.to_vec())).collect::<Vec<_>>()
        };
        prop_assert_eq!(tokens(&text), tokens(&plain));
        prop_assert_eq!(tokens(&plain).len(), lexemes.len());
    }

    #[test]
    fn tokens_cover_the_text_in_order(bytes in text()) {
        let mut end = 0;
        for token in Tokens::new(&bytes) {
            prop_assert!(!token.lexeme.is_empty() && token.offset >= end);
            prop_assert!(bytes[end..token.offset].iter().all(u8::is_ascii_whitespace));
            end = token.offset + token.lexeme.len();
            prop_assert_eq!(&bytes[token.offset..end], token.lexeme);
        }
        prop_assert!(bytes[end..].iter().all(u8::is_ascii_whitespace));
    }
}

fn hash(text: &str) -> [u8; 32] {
    let text = format!("{text}\n");
    match Scanner::default().step(text.as_bytes(), Dialect::Client) {
        Ok(Step::Whole { unit, .. }) => unit.token_hash(),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn the_hash_sees_tokens_only() {
    let plain = hash("def a():\nmovej([0,1.5],a=1)\nend");
    assert_eq!(plain, hash("def a ( ) : # c\n$ 1 \"x\"\n\n  movej( [0, 1.5], a = 1 )\r\nend"));
    for other in [
        "def b():\nmovej([0,1.5],a=1)\nend",
        "def a():\nmovej([0,1.50],a=1)\nend",
        "def a():\nmovej([01.5],a=1)\nend",
        "def a():\nmovej([0,1.5],a==1)\nend",
        "def a():\nmovel([0,1.5],a=1)\nend",
        "def a():\nmovej([0,1.5],a=\"1\")\nend",
    ] {
        assert_ne!(plain, hash(other), "{other}");
    }
    assert_ne!(hash("textmsg(\"a b\")"), hash("textmsg(\"a  b\")"));
    assert_ne!(hash("textmsg(\"a\")"), hash("textmsg('a')"));
}

#[test]
fn the_hash_is_the_published_one() {
    use sha2::{Digest, Sha256};
    let expected: [u8; 32] = Sha256::digest(b"\x01halted\0\x05=\0\x031.5\0").into();
    assert_eq!(hash("halted=1.5 # c"), expected);
    let keyword: [u8; 32] = Sha256::digest(b"\x02halt\0").into();
    assert_eq!(hash(" halt"), keyword);
}

#[test]
fn the_state_keeps_its_size() {
    assert_eq!(size_of::<Scanner>(), 152);
}
