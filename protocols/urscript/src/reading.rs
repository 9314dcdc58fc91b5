//! One reading of a text: where brackets, strings, comments and blocks stand at each byte.

use dissect::DissectError;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::token::Word;
use crate::{Doubts, MAX_DEPTH, MAX_TOKEN, bare, class};

/// What distinguishes one reading from another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// A backslash before a quote keeps the string open.
    pub(crate) escapes: bool,
    /// Strings and brackets end with their line, and so does a statement.
    pub(crate) lines: bool,
    /// A line is a unit, with any number of statements.
    pub(crate) interpreter: bool,
}

// Modes: what the next byte belongs to.
const CODE: u8 = 0;
const WORD: u8 = 1;
const STRING: u8 = 2;
const COMMENT: u8 = 3;

// What a token is for the structure; also the first token of a line and of the unit, 0 for none.
pub(crate) const NAME: u8 = 1;
pub(crate) const NUMBER: u8 = 2;
pub(crate) const DEF: u8 = 3;
pub(crate) const SEC: u8 = 4;
const BLOCK: u8 = 5;
const END: u8 = 6;
const STATEMENT: u8 = 7;
const RUN: u8 = 8;
const PAREN: u8 = 9;
const VALUE: u8 = 10;
const OPERATOR: u8 = 11;

// Flags.
/// The line holds a token that is neither word nor number.
const LINE_HAS_SYMBOL: u8 = 1;
/// The unit began with two words side by side.
const PAIR: u8 = 1 << 1;
/// The block that the unit began with is closed.
const CLOSED: u8 = 1 << 2;
/// The first line is a bare command or control word.
const BARE: u8 = 1 << 3;
/// The last token leaves a statement that must go on.
const OPEN_ENDED: u8 = 1 << 4;

/// The state of one reading since the start of its unit. Plain data; positions are bytes from the start of the unit.
///
/// Invariant: `line <= position` and `start <= position`; others are harmless, the reading then refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Reading {
    /// Kinds of the open brackets, the innermost in the lowest bit: 1 is square.
    square: u64,
    pub(crate) position: u32,
    /// Where the token that is being read starts.
    start: u32,
    /// Where the line starts.
    line: u32,
    pub(crate) name_start: u32,
    pub(crate) name_end: u32,
    doubts: u16,
    depth: u16,
    /// Depth at the start of the line.
    line_depth: u16,
    brackets: u8,
    mode: u8,
    /// Tokens since the start of the unit, saturating.
    pub(crate) tokens: u8,
    pub(crate) first: u8,
    line_first: u8,
    last: u8,
    flags: u8,
    _padding: [u8; 7],
}

impl Reading {
    pub(crate) fn doubts(&self) -> Doubts {
        Doubts(self.doubts)
    }

    pub(crate) fn is_bare(&self) -> bool {
        self.has(BARE)
    }

    /// Whether the reading is at a border: after a line end, outside blocks, brackets, strings and open statements.
    pub(crate) fn at_top(&self) -> bool {
        self.mode == CODE && self.depth == 0 && self.brackets == 0 && !self.has(OPEN_ENDED)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u8, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    fn doubt(&mut self, doubt: Doubts) {
        self.doubts |= doubt.0;
    }

    /// Reads on, past the next line end if there is one, and says whether there was.
    ///
    /// # Errors
    /// A limit: depth of blocks or brackets, length of a token.
    pub(crate) fn read_line(&mut self, bytes: &[u8], rules: Rules) -> Result<bool, DissectError> {
        loop {
            let done = match self.mode {
                CODE => self.code(bytes, rules)?,
                WORD => self.word(bytes, rules)?,
                STRING => self.string(bytes, rules)?,
                _ => self.comment(bytes)?,
            };
            match done {
                Progress::On => {}
                Progress::Starved => return Ok(false),
                Progress::Line => {
                    self.end_line(bytes, rules);
                    return Ok(true);
                }
            }
        }
    }

    fn code(&mut self, bytes: &[u8], rules: Rules) -> Result<Progress, DissectError> {
        let mut position = self.position as usize;
        let byte = loop {
            match bytes.get(position) {
                Some(byte) if class::of(*byte) == class::BLANK => position = position.saturating_add(1),
                Some(byte) => break *byte,
                None => {
                    self.position = offset(position);
                    return Ok(Progress::Starved);
                }
            }
        };
        self.start = offset(position);
        self.position = offset(position);
        let mut mode = CODE;
        match class::of(byte) {
            class::WORD => mode = WORD,
            class::NEWLINE => return Ok(Progress::Line),
            class::CARRIAGE_RETURN => match bytes.get(position.saturating_add(1)) {
                None => return Ok(Progress::Starved),
                Some(b'\n') => {}
                Some(_) => self.doubt(Doubts::STRAY_BYTE),
            },
            class::QUOTE => {
                self.token(VALUE, rules);
                mode = STRING;
            }
            class::HASH | class::DOLLAR => mode = COMMENT,
            class::OPEN => self.open(byte, rules)?,
            class::CLOSE => self.close(byte, rules),
            class::OPERATOR => self.operator(byte, rules),
            _ => {
                self.doubt(Doubts::STRAY_BYTE);
                self.token(OPERATOR, rules);
            }
        }
        self.mode = mode;
        if mode != WORD {
            self.position = self.position.saturating_add(1);
        }
        Ok(Progress::On)
    }

    fn word(&mut self, bytes: &[u8], rules: Rules) -> Result<Progress, DissectError> {
        let end = class::find(bytes, self.position as usize, class::IN_WORD, false);
        self.position = offset(end);
        self.check_length()?;
        if end >= bytes.len() {
            return Ok(Progress::Starved);
        }
        self.mode = CODE;
        let lexeme = bytes.get(self.start as usize..end).unwrap_or_default();
        self.word_token(lexeme, rules)?;
        Ok(Progress::On)
    }

    fn word_token(&mut self, lexeme: &[u8], rules: Rules) -> Result<(), DissectError> {
        if lexeme.first().is_some_and(u8::is_ascii_digit) {
            if !is_number(lexeme) {
                self.doubt(Doubts::STRAY_BYTE);
            }
            self.token(NUMBER, rules);
            return Ok(());
        }
        let line_first = self.line_first == 0;
        let word = Word::of(lexeme);
        let open_ended = matches!(word, Word::Prefix | Word::Run | Word::Operator);
        let token = match word {
            Word::Name => NAME,
            Word::Def => DEF,
            Word::Sec => SEC,
            Word::Block => BLOCK,
            Word::End => END,
            Word::Branch | Word::Operator | Word::Literal => VALUE,
            Word::Prefix | Word::Flow => STATEMENT,
            Word::Run => RUN,
        };
        if self.tokens == 1 && self.first == NAME {
            self.set(PAIR, true);
        }
        if token == NAME && self.tokens == 1 && matches!(self.first, DEF | SEC) {
            (self.name_start, self.name_end) = (self.start, self.position);
        }
        // Not a keyword of any text that was seen, but some editors take it for one that opens a block.
        if lexeme == b"for" && line_first {
            self.doubt(Doubts::UNBALANCED);
        }
        self.word_begins_unit(word);
        self.symbol_free(token, rules);
        self.set(OPEN_ENDED, open_ended);
        self.nest(word)
    }

    /// A word operator, a literal or a branch can't begin a statement.
    fn word_begins_unit(&mut self, word: Word) {
        let begins = !matches!(word, Word::Branch | Word::Operator | Word::Literal | Word::End);
        if self.tokens == 0 && !begins {
            self.doubt(Doubts::FRAGMENT);
        }
    }

    fn nest(&mut self, word: Word) -> Result<(), DissectError> {
        match word {
            Word::Def | Word::Sec | Word::Block => {
                if self.brackets > 0 || (word == Word::Sec && self.tokens != 1) {
                    self.doubt(Doubts::UNBALANCED);
                }
                self.depth = self.depth.saturating_add(1);
                if usize::from(self.depth) > MAX_DEPTH {
                    return Err(DissectError::unsupported("URScript nesting", self.start as usize));
                }
            }
            Word::End => {
                if self.brackets > 0 || self.depth == 0 {
                    self.doubt(Doubts::UNBALANCED);
                }
                if self.depth == 1 {
                    self.set(CLOSED, true);
                }
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
        Ok(())
    }

    fn string(&mut self, bytes: &[u8], rules: Rules) -> Result<Progress, DissectError> {
        let at = class::find(bytes, self.position as usize, class::STOPS_STRING, true);
        self.position = offset(at);
        self.check_length()?;
        let next = at.saturating_add(1);
        let quote = bytes.get(self.start as usize).copied();
        match bytes.get(at).copied() {
            None => return Ok(Progress::Starved),
            Some(b'\n') => return Ok(Progress::Line),
            Some(b'\r') => match bytes.get(next) {
                None => return Ok(Progress::Starved),
                Some(b'\n') => {}
                Some(_) => self.doubt(Doubts::STRAY_BYTE),
            },
            Some(byte) if Some(byte) == quote => {
                let body = bytes.get(self.start.saturating_add(1) as usize..at).unwrap_or_default();
                let slashes = body.iter().rev().take_while(|byte| **byte == b'\\').count();
                let escaped = slashes & 1 == 1;
                if escaped {
                    self.doubt(Doubts::ESCAPED_QUOTE);
                }
                // Only where the string ends at every quote, so that no byte is looked at twice.
                if byte == b'\'' && !rules.escapes && holds_code(body) {
                    self.doubt(Doubts::SINGLE_QUOTES);
                }
                if !(escaped && rules.escapes) {
                    self.mode = CODE;
                }
            }
            Some(b'"' | b'\'') => {}
            Some(_) => self.doubt(Doubts::STRAY_BYTE),
        }
        self.position = offset(next);
        Ok(Progress::On)
    }

    fn comment(&mut self, bytes: &[u8]) -> Result<Progress, DissectError> {
        let at = class::find(bytes, self.position as usize, class::STOPS_COMMENT, true);
        self.position = offset(at);
        self.check_length()?;
        let next = at.saturating_add(1);
        match bytes.get(at) {
            None => return Ok(Progress::Starved),
            Some(b'\n') => {
                let text = bytes.get(self.start as usize..at).unwrap_or_default();
                if text.first() == Some(&b'$') && (self.line_first != 0 || !is_line_marker(text)) {
                    self.doubt(Doubts::LINE_MARKER);
                }
                self.mode = CODE;
                return Ok(Progress::Line);
            }
            Some(b'\r') => match bytes.get(next) {
                None => return Ok(Progress::Starved),
                Some(b'\n') => {}
                Some(_) => self.doubt(Doubts::STRAY_BYTE),
            },
            Some(_) => self.doubt(Doubts::STRAY_BYTE),
        }
        self.position = offset(next);
        Ok(Progress::On)
    }

    fn check_length(&self) -> Result<(), DissectError> {
        if self.position.saturating_sub(self.start) as usize > MAX_TOKEN {
            return Err(DissectError::unsupported("URScript token length", self.start as usize));
        }
        Ok(())
    }

    fn open(&mut self, byte: u8, rules: Rules) -> Result<(), DissectError> {
        self.token(PAREN, rules);
        self.set(OPEN_ENDED, false);
        if usize::from(self.brackets) >= MAX_DEPTH {
            return Err(DissectError::unsupported("URScript brackets", self.start as usize));
        }
        self.square = self.square << 1 | u64::from(byte == b'[');
        self.brackets = self.brackets.saturating_add(1);
        if byte == b'[' && self.tokens == 3 && matches!(self.first, DEF | SEC) {
            self.doubt(Doubts::HEADER);
        }
        Ok(())
    }

    fn close(&mut self, byte: u8, rules: Rules) {
        self.token(VALUE, rules);
        if self.brackets == 0 || (self.square & 1 == 1) != (byte == b']') {
            self.doubt(Doubts::UNBALANCED);
        }
        self.square >>= 1;
        self.brackets = self.brackets.saturating_sub(1);
    }

    fn operator(&mut self, byte: u8, rules: Rules) {
        let number = self.last == NUMBER && byte == b'.';
        self.token(if number { NUMBER } else { OPERATOR }, rules);
        // A colon ends the head of a block, and a point may end a number.
        self.set(OPEN_ENDED, !number && byte != b':');
    }

    /// Notes a token that is not a word.
    fn token(&mut self, token: u8, rules: Rules) {
        if token != NUMBER {
            self.set(LINE_HAS_SYMBOL, true);
        }
        if self.tokens == 0 {
            self.doubt(Doubts::FRAGMENT);
        }
        if token == NUMBER && self.tokens == 1 && self.first == NAME && self.last == NAME {
            self.set(PAIR, true);
        }
        self.set(OPEN_ENDED, false);
        self.symbol_free(token, rules);
    }

    /// What all tokens share.
    fn symbol_free(&mut self, token: u8, rules: Rules) {
        let header = matches!(self.first, DEF | SEC);
        let misplaced = header && ((self.tokens == 1 && token != NAME) || (self.tokens == 2 && token != PAREN));
        if misplaced {
            self.doubt(Doubts::HEADER);
        }
        if self.has(CLOSED) && !rules.interpreter {
            self.doubt(Doubts::AFTER_END);
        }
        if self.tokens == 0 {
            self.first = token;
        }
        if self.line_first == 0 {
            self.line_first = token;
        }
        self.tokens = self.tokens.saturating_add(1);
        self.last = token;
    }

    /// Closes the line whose `\n` is at the position, and moves behind it.
    fn end_line(&mut self, bytes: &[u8], rules: Rules) {
        let end = self.position as usize;
        let line = bytes.get(self.line as usize..end).unwrap_or_default();
        let whole = self.line == 0;
        let words_only = matches!(self.line_first, NAME | RUN)
            && (!self.has(LINE_HAS_SYMBOL) || (self.line_first == NAME && begins_with_set(line)));
        if words_only || (whole && self.has(PAIR)) {
            self.check_words(line, whole, rules);
        }
        if self.mode == STRING {
            self.doubt(Doubts::LINE_END_IN_STRING);
        }
        if self.brackets > 0 {
            self.doubt(Doubts::LINE_END_IN_BRACKET);
        }
        if matches!(self.first, DEF | SEC) && self.tokens < 3 {
            self.doubt(Doubts::HEADER);
        }
        if rules.interpreter {
            if !self.at_top() {
                self.doubt(Doubts::CONTINUED_LINE);
            }
        } else {
            if self.depth == 0 && self.has(OPEN_ENDED) {
                self.doubt(Doubts::CONTINUED_LINE);
            }
            if !self.blocks_match_first_word() {
                self.doubt(Doubts::BLOCK_IN_LINE);
            }
        }
        if rules.lines {
            self.mode = CODE;
            self.brackets = 0;
            self.set(OPEN_ENDED, false);
        }
        self.position = self.position.saturating_add(1);
        self.line = self.position;
        self.line_depth = self.depth;
        self.line_first = 0;
        self.set(LINE_HAS_SYMBOL, false);
    }

    /// A line that starts with words alone: a bare command, or a doubt.
    fn check_words(&mut self, line: &[u8], whole: bool, rules: Rules) {
        let known = if rules.interpreter { bare::control(line).is_some() } else { bare::command(line).is_some() };
        match (known, whole) {
            (true, true) => {
                self.set(BARE, true);
                self.set(OPEN_ENDED, false);
            }
            (true, false) => self.doubt(Doubts::BARE_LINE),
            (false, true) => self.doubt(Doubts::WORDS),
            (false, false) => {}
        }
    }

    /// Whether a reader that looks only at first words would count the blocks of this line alike. A block that opens
    /// and closes on one line is left out: such a reader ends later, never earlier.
    fn blocks_match_first_word(&self) -> bool {
        match self.line_first {
            DEF | SEC | BLOCK => self.depth == self.line_depth.saturating_add(1) || self.depth == self.line_depth,
            END => self.depth == self.line_depth.saturating_sub(1),
            _ => self.depth == self.line_depth,
        }
    }
}

/// Whether the first word is `set`: the number in `set speed -1` has a sign, which is no word.
fn begins_with_set(line: &[u8]) -> bool {
    let start = class::find(line, 0, class::IN_WORD, true);
    let end = class::find(line, start, class::IN_WORD, false);
    line.get(start..end).is_some_and(|word| word.eq_ignore_ascii_case(b"set"))
}

enum Progress {
    /// The mode or the position changed.
    On,
    /// More bytes are needed.
    Starved,
    /// The position is at a line end.
    Line,
}

fn offset(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// `12`, `12e5`, and `12e` (whose sign and digits follow).
fn is_number(word: &[u8]) -> bool {
    let (digits, rest) = split_digits(word);
    match rest {
        [] => !digits.is_empty(),
        [b'e' | b'E', exponent @ ..] => split_digits(exponent).1.is_empty(),
        _ => false,
    }
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(class::find(text, 0, class::DIGIT, false))
}

/// Whether the body of a string in single quotes holds what would count if such quotes were no quotes.
fn holds_code(body: &[u8]) -> bool {
    body.iter().any(|byte| b"\"#$()[]{}\\\n".contains(byte))
        || body
            .split(|byte| !class::has(*byte, class::IN_WORD))
            .any(|word| matches!(Word::of(word), Word::Def | Word::Sec | Word::Block | Word::End))
}

/// `$ 12 "label"`, with any number of labels.
fn is_line_marker(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"$") else { return false };
    let (number, mut rest) = split_digits(class::trim(rest));
    if number.is_empty() {
        return false;
    }
    loop {
        rest = match class::trim(rest) {
            [] => return true,
            [b'"', label @ ..] => match memchr::memchr(b'"', label) {
                Some(end) => label.get(end.saturating_add(1)..).unwrap_or_default(),
                None => return false,
            },
            _ => return false,
        };
    }
}
