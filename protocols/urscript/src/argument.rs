use crate::{Token, TokenKind, Tokens, class};

/// The arguments of a call, or the elements of a list; read only when asked for.
///
/// Cost: each method reads up to the closing bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments<'a> {
    /// What follows the opening bracket, as far as the unit goes.
    text: &'a [u8],
}

/// One argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Argument<'a> {
    /// The name in `name=value`.
    pub name: Option<&'a [u8]>,
    /// What is handed over.
    pub value: Value<'a>,
}

/// What an argument is, as far as the text alone proves it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number with its sign, finite, without zeros before its digits.
    Number(f64),
    /// `True` or `False`.
    Bool(bool),
    /// A string, without its quotes.
    String(&'a [u8]),
    /// `[...]`
    List(Arguments<'a>),
    /// `p[...]`
    Pose(Arguments<'a>),
    /// Anything else: a name, an expression, nothing. It proves no bound.
    Other(&'a [u8]),
}

impl<'a> Arguments<'a> {
    pub(crate) const fn after(text: &'a [u8]) -> Self {
        Self { text }
    }

    /// What follows the opening bracket.
    pub(crate) const fn text_from(&self) -> &'a [u8] {
        self.text
    }

    /// The text between the brackets.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        let mut depth = 0_usize;
        let close = Tokens::new(self.text).find(|token| leaves(token, &mut depth));
        let end = close.map_or(self.text.len(), |token| token.offset);
        self.text.get(..end).unwrap_or_default()
    }

    /// The arguments in order.
    pub fn iter(&self) -> impl Iterator<Item = Argument<'a>> + use<'a> {
        Split { tokens: Tokens::new(self.text), text: self.text, start: 0, done: false }.map(Argument::read)
    }

    /// All elements, if they are exactly `N` literal numbers.
    #[must_use]
    pub fn numbers<const N: usize>(&self) -> Option<[f64; N]> {
        let mut numbers = [0.0; N];
        let mut elements = self.iter();
        for number in &mut numbers {
            match elements.next()? {
                Argument { name: None, value: Value::Number(value) } => *number = value,
                _ => return None,
            }
        }
        elements.next().is_none().then_some(numbers)
    }
}

/// Whether `token` closes the bracket that was open before the first token.
fn leaves(token: &Token<'_>, depth: &mut usize) -> bool {
    if token.kind != TokenKind::Bracket {
        return false;
    }
    match token.lexeme {
        b"(" | b"[" => *depth = depth.saturating_add(1),
        _ if *depth == 0 => return true,
        _ => *depth = depth.saturating_sub(1),
    }
    false
}

struct Split<'a> {
    tokens: Tokens<'a>,
    text: &'a [u8],
    start: usize,
    done: bool,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.done {
            return None;
        }
        let mut depth = 0_usize;
        let mut empty = true;
        let mut end = self.text.len();
        let mut next = end;
        self.done = true;
        for token in self.tokens.by_ref() {
            if leaves(&token, &mut depth) {
                end = token.offset;
                break;
            }
            if depth == 0 && token.lexeme == b"," {
                end = token.offset;
                next = end.saturating_add(1);
                self.done = false;
                break;
            }
            empty = empty && token.is_comment();
        }
        let part = self.text.get(self.start..end).unwrap_or_default();
        // `f()` has no argument, `f(,)` has two empty ones.
        let none = self.done && self.start == 0 && empty;
        self.start = next;
        (!none).then_some(part)
    }
}

impl<'a> Argument<'a> {
    fn read(text: &'a [u8]) -> Self {
        let mut tokens = Tokens::new(text);
        let mut code = tokens.by_ref().filter(|token| !token.is_comment());
        match (code.next(), code.next()) {
            (Some(Token { kind: TokenKind::Name, lexeme, .. }), Some(Token { lexeme: b"=", .. })) => {
                Self { name: Some(lexeme), value: Value::read(tokens.rest()) }
            }
            _ => Self { name: None, value: Value::read(text) },
        }
    }
}

impl<'a> Value<'a> {
    fn read(text: &'a [u8]) -> Self {
        Self::literal(text).unwrap_or_else(|| Self::Other(class::trim(text)))
    }

    fn literal(text: &'a [u8]) -> Option<Self> {
        let mut tokens = Tokens::new(text).filter(|token| !token.is_comment());
        let first = tokens.next()?;
        let value = match (first.kind, first.lexeme) {
            (TokenKind::Number, lexeme) => Self::number(lexeme, 1.0)?,
            (TokenKind::Operator, b"-") => Self::number(number_lexeme(tokens.next()?)?, -1.0)?,
            (TokenKind::Operator, b"+") => Self::number(number_lexeme(tokens.next()?)?, 1.0)?,
            (TokenKind::Keyword, b"True") => Self::Bool(true),
            (TokenKind::Keyword, b"False") => Self::Bool(false),
            (TokenKind::String, [open, body @ .., close]) if open == close => Self::String(body),
            (TokenKind::Bracket, b"[") => return list(text, &first).map(Self::List),
            (TokenKind::Name, b"p") => {
                let open = tokens.next().filter(|token| token.lexeme == b"[")?;
                return list(text, &open).map(Self::Pose);
            }
            _ => return None,
        };
        tokens.next().is_none().then_some(value)
    }

    fn number(lexeme: &[u8], sign: f64) -> Option<Self> {
        // `010` is eight for some languages, ten for others.
        if matches!(lexeme, [b'0', b'0'..=b'9', ..]) {
            return None;
        }
        let value: f64 = core::str::from_utf8(lexeme).ok()?.parse().ok()?;
        value.is_finite().then_some(Self::Number(sign * value))
    }
}

fn number_lexeme(token: Token<'_>) -> Option<&[u8]> {
    (token.kind == TokenKind::Number).then_some(token.lexeme)
}

/// The list whose opening bracket is `open`, if nothing follows its closing one.
fn list<'a>(text: &'a [u8], open: &Token<'_>) -> Option<Arguments<'a>> {
    let inside = text.get(open.offset.saturating_add(1)..)?;
    let mut depth = 0_usize;
    let mut tokens = Tokens::new(inside).filter(|token| !token.is_comment());
    let closed = tokens.find(|token| leaves(token, &mut depth))?;
    (closed.lexeme == b"]" && tokens.next().is_none()).then_some(Arguments::after(inside))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn values(text: &str) -> Vec<Argument<'_>> {
        Arguments::after(text.as_bytes()).iter().collect()
    }

    fn plain(value: Value<'_>) -> Argument<'_> {
        Argument { name: None, value }
    }

    #[test]
    fn literals() {
        let arguments = values("-1.5, 2., .5e1, +3, True, \"a, b\", x) + foo(9");
        let expected = [
            plain(Value::Number(-1.5)),
            plain(Value::Number(2.0)),
            plain(Value::Number(5.0)),
            plain(Value::Number(3.0)),
            plain(Value::Bool(true)),
            plain(Value::String(b"a, b")),
            plain(Value::Other(b"x")),
        ];
        assert_eq!(arguments, expected);
    }

    #[test]
    fn lists_and_poses() {
        let arguments = values("[0, -1.57, # c, )\n 0.5], a=1.4, p[1,2,3,4,5,6], [d2r(90), 1], [[1],[2]])");
        let numbers = |index: usize| match arguments.get(index).unwrap().value {
            Value::List(list) | Value::Pose(list) => (list.numbers::<3>(), list.numbers::<6>()),
            _ => (None, None),
        };
        assert_eq!(arguments.len(), 5);
        assert_eq!(numbers(0), (Some([0.0, -1.57, 0.5]), None));
        assert_eq!(arguments.get(1), Some(&Argument { name: Some(b"a"), value: Value::Number(1.4) }));
        assert_eq!(numbers(2), (None, Some([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])));
        assert_eq!(numbers(3), (None, None));
    }

    #[test]
    fn what_only_looks_like_a_literal() {
        for text in [
            "1 + 1)",
            "- -1)",
            "-x)",
            "1e999)",
            "[1] + [2])",
            "p)",
            "p [1](0))",
            "\"a\" \"b\")",
            "1 2)",
            "\"a)",
            "010)",
            "-00.5)",
            "0x10)",
            "1.2.3)",
        ] {
            let arguments = values(text);
            assert!(matches!(arguments.as_slice(), [Argument { value: Value::Other(_), .. }]), "{text}: {arguments:?}");
        }
        assert_eq!(values("a == 1)"), [plain(Value::Other(b"a == 1"))]);
    }

    #[test]
    fn empty_ones_count_where_a_comma_is() {
        assert_eq!(values(")"), []);
        assert_eq!(values(" # c\n )"), []);
        assert_eq!(values(",)").len(), 2);
        assert_eq!(Arguments::after(b"f(1), [2]) + 3").text(), b"f(1), [2]");
    }
}
