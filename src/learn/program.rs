//! What a program says of the sockets that it opens to a computer for external control: their ports, and how many
//! integers it reads from each at once. Neither is on the wire.
//!
//! A help for learning, whose result people review: it reads programs as they are written, not as they might be written
//! to mislead it. What it can't tell, it leaves out.

use std::collections::BTreeMap;

use external_control::{Channel, MAX_FIELDS};
use urscript::{Token, TokenKind, Tokens};

/// What is known of one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// The computer's port.
    pub(super) port: Option<u16>,
    /// Integers a record.
    pub(super) fields: Option<usize>,
}

/// The sockets by name, as the library's program calls them.
/// Source: Universal_Robots_Client_Library, `resources/external_control.urscript`.
fn channel(name: &[u8]) -> Option<Channel> {
    match name {
        b"\"reverse_socket\"" => Some(Channel::Reverse),
        b"\"trajectory_socket\"" => Some(Channel::Trajectory),
        b"\"script_command_socket\"" => Some(Channel::ScriptCommand),
        _ => None,
    }
}

/// The sockets that a program names: those whose name is a literal, with ports and lengths that are numbers or sums and
/// products of numbers and of names that have one value in the whole text.
///
/// A call `f(host, PORT, "reverse_socket")` opens one, whatever `f` is called, as programs wrap `socket_open`;
/// `socket_read_binary_integer(COUNT, "reverse_socket")` reads from it.
pub(super) fn sockets(text: &[u8]) -> Vec<(Channel, Opened)> {
    let mut found: BTreeMap<Channel, Opened> = BTreeMap::new();
    // Most texts are of other kinds, and they may be long.
    if !text.windows(SUFFIX.len()).any(|part| part == SUFFIX) {
        return Vec::new();
    }
    let tokens: Vec<Token<'_>> = Tokens::new(text).code().collect();
    let constants = constants(&tokens);
    for (at, token) in tokens.iter().enumerate() {
        let Some(channel) = channel(token.lexeme).filter(|_| token.kind == TokenKind::String) else { continue };
        let Some((before, value)) = argument_before(&tokens, at, &constants) else { continue };
        let opened = found.entry(channel).or_default();
        match lexeme(&tokens, before) {
            b"," => opened.port = opened.port.or(u16::try_from(value).ok()),
            b"(" if lexeme(&tokens, before.wrapping_sub(1)) == b"socket_read_binary_integer" => {
                let fields = usize::try_from(value).ok().filter(|fields| (1..=MAX_FIELDS).contains(fields));
                opened.fields = opened.fields.or(fields);
            }
            _ => {}
        }
    }
    found.into_iter().filter(|(_, opened)| *opened != Opened::default()).collect()
}

/// How every name ends that is looked for.
const SUFFIX: &[u8] = b"_socket\"";

fn lexeme<'t>(tokens: &[Token<'t>], at: usize) -> &'t [u8] {
    tokens.get(at).map_or(&[], |token| token.lexeme)
}

/// Names that are given one value, by `NAME = expression`.
fn constants<'t>(tokens: &[Token<'t>]) -> BTreeMap<&'t [u8], Option<i64>> {
    let mut known: BTreeMap<&[u8], Option<i64>> = BTreeMap::new();
    for (at, token) in tokens.iter().enumerate() {
        let assigns = token.kind == TokenKind::Name && lexeme(tokens, at.wrapping_add(1)) == b"=";
        // In an argument list it is an argument's name.
        if !assigns || matches!(lexeme(tokens, at.wrapping_sub(1)), b"," | b"(" | b".") {
            continue;
        }
        let from = at.wrapping_add(2);
        let value = tokens.get(from..).and_then(|rest| {
            let len = expression_len(rest);
            // Where it goes on with something else, that is part of the value.
            let ends = !matches!(lexeme(rest, len), b"(" | b"[" | b"." | b"-" | b"/" | b"%");
            rest.get(..len).filter(|_| ends).and_then(|value| evaluate(value, &known))
        });
        known
            .entry(token.lexeme)
            .and_modify(|known| *known = known.filter(|known| value == Some(*known)))
            .or_insert(value);
    }
    known
}

/// Tokens at the start of `rest` that are numbers or names with `+` or `*` between.
fn expression_len(rest: &[Token<'_>]) -> usize {
    let is_value =
        |at: usize| rest.get(at).is_some_and(|token| matches!(token.kind, TokenKind::Number | TokenKind::Name));
    let mut len = usize::from(is_value(0));
    while len > 0 && matches!(lexeme(rest, len), b"+" | b"*") && is_value(len.saturating_add(1)) {
        len = len.saturating_add(2);
    }
    len
}

/// The argument before the one at `at`: its value, and where what precedes it stands.
fn argument_before(tokens: &[Token<'_>], at: usize, known: &BTreeMap<&[u8], Option<i64>>) -> Option<(usize, i64)> {
    let end = at.checked_sub(1).filter(|comma| lexeme(tokens, *comma) == b",")?;
    let before = tokens.get(..end)?.iter().rposition(|token| matches!(token.lexeme, b"," | b"("))?;
    let value = tokens.get(before.checked_add(1)?..end)?;
    (expression_len(value) == value.len()).then(|| evaluate(value, known)).flatten().map(|value| (before, value))
}

/// The value of a sum of products.
fn evaluate(expression: &[Token<'_>], known: &BTreeMap<&[u8], Option<i64>>) -> Option<i64> {
    let number = |token: &Token<'_>| match token.kind {
        TokenKind::Number => std::str::from_utf8(token.lexeme).ok()?.parse().ok(),
        _ => known.get(token.lexeme).copied().flatten(),
    };
    let product = |factors: &[Token<'_>]| {
        factors.iter().step_by(2).try_fold(1_i64, |product, factor| product.checked_mul(number(factor)?))
    };
    if expression.is_empty() {
        return None;
    }
    expression.split(|token| token.lexeme == b"+").try_fold(0_i64, |sum, part| sum.checked_add(product(part)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(port: u16, fields: usize) -> Opened {
        Opened { port: Some(port).filter(|port| *port != 0), fields: Some(fields).filter(|fields| *fields != 0) }
    }

    #[test]
    fn ports_and_lengths_are_read_as_programs_write_them() {
        let text = br#"
def work():
  REVERSE = 8
  global POINT = 3 * 6 + 1
  def connect(host, port, name, most=5):
    return socket_open(host, port, name)
  end
  # socket_open("10.0.0.9", 1, "reverse_socket")
  connect("10.0.0.9", 60003, "trajectory_socket")
  socket_open("10.0.0.9", 60001, "reverse_socket")
  socket_open("10.0.0.9", 60007, "another_socket")
  raw = socket_read_binary_integer(POINT + 1 + 1, "trajectory_socket", 0)
  raw = socket_read_binary_integer(REVERSE, "reverse_socket", 0.02)
  raw = socket_read_binary_integer(28, "script_command_socket")
end
"#;
        let found = sockets(text);
        let wanted = [
            (Channel::Reverse, opened(60_001, 8)),
            (Channel::Trajectory, opened(60_003, 21)),
            (Channel::ScriptCommand, opened(0, 28)),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_can_not_be_told_is_left_out() {
        for text in [
            "socket_open(\"10.0.0.9\", port, \"reverse_socket\")",
            "PORT = 1\nPORT = 2\nsocket_open(\"10.0.0.9\", PORT, \"reverse_socket\")",
            "PORT = f(1)\nsocket_open(\"10.0.0.9\", PORT, \"reverse_socket\")",
            "PORT = 2 - 1\nsocket_open(\"10.0.0.9\", PORT, \"reverse_socket\")",
            "socket_open(\"10.0.0.9\", 70000, \"reverse_socket\")",
            "socket_open(\"10.0.0.9\", 1 +, \"reverse_socket\")",
            "socket_read_binary_integer(0, \"reverse_socket\")",
            "socket_read_binary_integer(9999, \"reverse_socket\")",
            "socket_read_byte_list(8, \"reverse_socket\")",
            "9223372036854775807 * 3, \"reverse_socket\"",
            "(\"reverse_socket\")",
            "\"reverse_socket\"",
            "",
        ] {
            assert_eq!(sockets(text.as_bytes()), [], "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "A", "B", "=", "1", "99999999999", "+", "*", "(", ")", ",", "\"reverse_socket\"", "\n", "socket_open",
                    "socket_read_binary_integer", "\"", "#", ".",
                ]),
                0..40,
            )
        ) {
            let _ = sockets(parts.concat().as_bytes());
        }
    }
}
