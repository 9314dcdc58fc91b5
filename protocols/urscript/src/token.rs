use crate::class;

/// What a token is. The numbers go into [`crate::Unit::token_hash`] and never change.
///
/// Source: the script manual's grammar as far as it is public; README.md lists what could not be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TokenKind {
    /// A name: `[A-Za-z_][A-Za-z0-9_]*` that is no keyword.
    Name = 1,
    /// A keyword, word operators and `True`/`False` included.
    Keyword = 2,
    /// An unsigned number: digits, a fraction, an exponent.
    Number = 3,
    /// A string with its quotes, `"` or `'`; a backslash is a character like any other.
    String = 4,
    /// `+ - * / % , = == != < > <= >= . :`
    Operator = 5,
    /// `( ) [ ]`
    Bracket = 6,
    /// Bytes that are no token of the language.
    Other = 7,
    /// `#` to the end of its line.
    Comment = 8,
    /// `$` to the end of its line: the line marker that `PolyScope` writes.
    LineMarker = 9,
}

/// One token with its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: TokenKind,
    /// Its bytes in the text.
    pub lexeme: &'a [u8],
    /// Where it starts, in bytes from the start of the text.
    pub offset: usize,
}

impl Token<'_> {
    /// Whether it is a comment or a line marker, which no reading executes.
    #[must_use]
    pub const fn is_comment(&self) -> bool {
        matches!(self.kind, TokenKind::Comment | TokenKind::LineMarker)
    }
}

/// The tokens of a text, free-form: a line end is a blank like any other, except that it ends a comment.
///
/// Never fails: bytes that are no token come out as [`TokenKind::Other`], an unterminated string runs to the end.
/// Cost: one table look-up a byte.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    text: &'a [u8],
    position: usize,
}

impl<'a> Tokens<'a> {
    /// The tokens of `text`.
    #[must_use]
    pub const fn new(text: &'a [u8]) -> Self {
        Self { text, position: 0 }
    }

    /// The text not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.text.get(self.position..).unwrap_or_default()
    }

    /// The same tokens without comments and line markers.
    pub fn code(self) -> impl Iterator<Item = Token<'a>> + Clone {
        self.filter(|token| !token.is_comment())
    }

    fn byte(&self, position: usize) -> Option<u8> {
        self.text.get(position).copied()
    }

    /// Where the number that starts at `from` ends: `12`, `1.5`, `1.`, `.5`, each with an exponent.
    fn number_end(&self, from: usize) -> usize {
        let digits = |from| class::find(self.text, from, class::DIGIT, false);
        let mut end = digits(from);
        if self.byte(end) == Some(b'.') {
            end = digits(end.saturating_add(1));
        }
        if matches!(self.byte(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.byte(end.saturating_add(1)), Some(b'+' | b'-')));
            let first = end.saturating_add(1).saturating_add(sign);
            if self.byte(first).is_some_and(|byte| class::has(byte, class::DIGIT)) {
                end = digits(first);
            }
        }
        end
    }

    fn string_end(&self, from: usize, quote: u8) -> usize {
        let first = from.saturating_add(1);
        let rest = self.text.get(first..).unwrap_or_default();
        memchr::memchr(quote, rest).map_or(self.text.len(), |at| first.saturating_add(at).saturating_add(1))
    }

    fn line_end(&self, from: usize) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        memchr::memchr(b'\n', rest).map_or(self.text.len(), |at| from.saturating_add(at))
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let mut start = self.position;
        let byte = loop {
            let byte = self.byte(start)?;
            match class::of(byte) {
                class::BLANK | class::NEWLINE | class::CARRIAGE_RETURN => start = start.saturating_add(1),
                _ => break byte,
            }
        };
        let second = self.byte(start.saturating_add(1));
        let one = start.saturating_add(1);
        let (kind, end) = match class::of(byte) {
            class::WORD if class::has(byte, class::DIGIT) => (TokenKind::Number, self.number_end(start)),
            class::WORD => {
                let end = class::find(self.text, start, class::IN_WORD, false);
                let word = self.text.get(start..end).unwrap_or_default();
                (if is_keyword(word) { TokenKind::Keyword } else { TokenKind::Name }, end)
            }
            class::QUOTE => (TokenKind::String, self.string_end(start, byte)),
            class::HASH => (TokenKind::Comment, self.line_end(start)),
            class::DOLLAR => (TokenKind::LineMarker, self.line_end(start)),
            class::OPEN | class::CLOSE => (TokenKind::Bracket, one),
            class::OPERATOR => match (byte, second) {
                (b'=' | b'!' | b'<' | b'>', Some(b'=')) => (TokenKind::Operator, start.saturating_add(2)),
                (b'!', _) => (TokenKind::Other, one),
                (b'.', Some(next)) if class::has(next, class::DIGIT) => (TokenKind::Number, self.number_end(start)),
                _ => (TokenKind::Operator, one),
            },
            _ => (TokenKind::Other, one),
        };
        self.position = end;
        let lexeme = self.text.get(start..end).unwrap_or_default();
        // A carriage return before the line end belongs to the line end, not to the comment.
        let lexeme =
            if matches!(kind, TokenKind::Comment | TokenKind::LineMarker) { class::trim(lexeme) } else { lexeme };
        Some(Token { kind, lexeme, offset: start })
    }
}

/// Whether `word` is a keyword; letter case counts.
#[must_use]
pub(crate) fn is_keyword(word: &[u8]) -> bool {
    Word::of(word) != Word::Name
}

/// What a word means for the structure of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// No keyword.
    Name,
    /// `def`
    Def,
    /// `sec`
    Sec,
    /// `thread`, `if`, `while`: open a block too.
    Block,
    /// `end`
    End,
    /// `elif`, `else`
    Branch,
    /// `global`, `local`, `join`, `kill`: begin a statement that goes on.
    Prefix,
    /// `run`: the same, and the first word of a bare command.
    Run,
    /// `return`, `halt`, `break`, `continue`, `enter_critical`, `exit_critical`: a statement that may be complete.
    Flow,
    /// `and`, `or`, `xor`, `not`: an expression that goes on.
    Operator,
    /// `True`, `False`
    Literal,
}

impl Word {
    pub(crate) fn of(word: &[u8]) -> Self {
        match word {
            b"def" => Self::Def,
            b"sec" => Self::Sec,
            b"thread" | b"if" | b"while" => Self::Block,
            b"end" => Self::End,
            b"elif" | b"else" => Self::Branch,
            b"global" | b"local" | b"join" | b"kill" => Self::Prefix,
            b"run" => Self::Run,
            b"return" | b"halt" | b"break" | b"continue" | b"enter_critical" | b"exit_critical" => Self::Flow,
            b"and" | b"or" | b"xor" | b"not" => Self::Operator,
            b"True" | b"False" => Self::Literal,
            _ => Self::Name,
        }
    }
}
