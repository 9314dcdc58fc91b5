use crate::{Arguments, Category, MAX_DEPTH, Token, TokenKind, Tokens};

/// One thing that a unit does, in the order of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// `name(...)`; also the statements `halt`, `run`, `kill`, `join`, `enter_critical` and `exit_critical`, under
    /// their own names and without arguments.
    Call {
        /// Function name; empty where the result of an expression is called.
        name: &'a [u8],
        /// Its category.
        category: Category,
        /// What it is called with.
        arguments: Arguments<'a>,
    },
    /// `object.name(...)`: a method of an object that a factory made, which is a connection in every known case.
    Method {
        /// Object name, the last component of a chain; empty where it is an expression.
        object: &'a [u8],
        /// Method name.
        name: &'a [u8],
    },
    /// `target[index] = ...`.
    IndexAssign {
        /// What is indexed, such as `digital_out`; empty where it is an expression.
        target: &'a [u8],
    },
    /// A connection that the robot opens; follows the [`Fact::Call`] of the function.
    Connect {
        /// The function: `socket_open`, `rpc_factory`, `modbus_add_signal`, ...
        function: &'a [u8],
        /// Host or URL where the text names it as a literal; `None` where it can't be known.
        target: Option<&'a [u8]>,
        /// The port of a socket, in digits, where the text names it as a literal.
        port: Option<&'a [u8]>,
    },
}

/// Iterator over what a text does; see [`crate::Unit::facts`].
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    text: &'a [u8],
    tokens: Tokens<'a>,
    before: Before<'a>,
    /// What each open bracket indexes.
    indexed: [Option<&'a [u8]>; MAX_DEPTH],
    depth: usize,
    /// A connection to tell after its call.
    connect: Option<Fact<'a>>,
    locals: Option<Locals>,
}

/// What stands before the token, as far as it matters for it.
#[derive(Clone, Copy, Debug)]
enum Before<'a> {
    Other,
    /// `def`, `sec` or `thread`
    Definition,
    Name(&'a [u8]),
    /// An object and the point behind it.
    Point(&'a [u8]),
    Member {
        object: &'a [u8],
        name: &'a [u8],
    },
    /// `)`, or a value that may be called or indexed.
    Value,
    /// `]`, after an index of this.
    Indexed(&'a [u8]),
}

impl<'a> Facts<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        let indexed = [None; MAX_DEPTH];
        Self { text, tokens: Tokens::new(text), before: Before::Other, indexed, depth: 0, connect: None, locals: None }
    }

    fn token(&mut self, token: Token<'a>) -> Option<Fact<'a>> {
        let lexeme = token.lexeme;
        let mut fact = None;
        self.before = match (token.kind, lexeme) {
            (TokenKind::Comment | TokenKind::LineMarker, _) => self.before,
            (TokenKind::Keyword, b"def" | b"sec" | b"thread") => Before::Definition,
            (TokenKind::Keyword, b"halt" | b"run" | b"kill" | b"join" | b"enter_critical" | b"exit_critical") => {
                let category = Category::of(lexeme);
                fact = Some(Fact::Call { name: lexeme, category, arguments: Arguments::after(&[]) });
                Before::Other
            }
            (TokenKind::Name, name) => match self.before {
                Before::Definition => Before::Other,
                Before::Point(object) => Before::Member { object, name },
                _ => Before::Name(name),
            },
            (TokenKind::Operator, b".") => match self.before {
                Before::Name(object) | Before::Indexed(object) | Before::Member { name: object, .. } => {
                    Before::Point(object)
                }
                Before::Value => Before::Point(&[]),
                _ => Before::Other,
            },
            (TokenKind::Operator, b"=") => {
                if let Before::Indexed(target) = self.before {
                    fact = Some(Fact::IndexAssign { target });
                }
                Before::Other
            }
            // No known controller has `+=`; if one had, it would write.
            (TokenKind::Operator, b"+" | b"-" | b"*" | b"/" | b"%") => match self.before {
                Before::Indexed(_) if self.tokens.rest().starts_with(b"=") => self.before,
                _ => Before::Other,
            },
            (TokenKind::Bracket, b"(") => {
                fact = self.called();
                self.push(None);
                Before::Other
            }
            (TokenKind::Bracket, b"[") => {
                self.push(match self.before {
                    Before::Name(name) | Before::Member { name, .. } | Before::Indexed(name) => Some(name),
                    Before::Value => Some(&[]),
                    _ => None,
                });
                Before::Other
            }
            (TokenKind::Bracket, b"]") => self.pop().map_or(Before::Value, Before::Indexed),
            (TokenKind::Bracket, _) => {
                self.pop();
                Before::Value
            }
            _ => Before::Other,
        };
        fact
    }

    fn called(&mut self) -> Option<Fact<'a>> {
        let name = match self.before {
            Before::Name(name) | Before::Indexed(name) => name,
            Before::Member { object, name } => return Some(Fact::Method { object, name }),
            Before::Value => &[],
            _ => return None,
        };
        let arguments = Arguments::after(self.tokens.rest());
        let before = self.before;
        let category = match before {
            // A definition does not hide a function of the table: which of the two is called is not known.
            Before::Name(_) if Category::built_in(name).is_none() && self.is_local(name) => Category::Local,
            Before::Name(_) => Category::of(name),
            _ => Category::Unknown,
        };
        if category == Category::Network {
            self.connect = connection(name, self.tokens.rest());
        }
        Some(Fact::Call { name, category, arguments })
    }

    fn is_local(&mut self, name: &[u8]) -> bool {
        let text = self.text;
        self.locals.get_or_insert_with(|| Locals::of(text)).contains(text, name)
    }

    fn push(&mut self, indexed: Option<&'a [u8]>) {
        if let Some(slot) = self.indexed.get_mut(self.depth) {
            *slot = indexed;
        }
        self.depth = self.depth.saturating_add(1);
    }

    fn pop(&mut self) -> Option<&'a [u8]> {
        self.depth = self.depth.saturating_sub(1);
        // Deeper than any unit goes: taken for an index of something, so that an assignment is never overlooked.
        self.indexed.get(self.depth).copied().unwrap_or(Some(&[]))
    }
}

impl<'a> Iterator for Facts<'a> {
    type Item = Fact<'a>;

    fn next(&mut self) -> Option<Fact<'a>> {
        if let Some(connect) = self.connect.take() {
            return Some(connect);
        }
        loop {
            let token = self.tokens.next()?;
            if let Some(fact) = self.token(token) {
                return Some(fact);
            }
        }
    }
}

/// The connection that a call of `function` opens; `rest` is what follows its opening bracket.
///
/// Nothing is proven where an argument is named (how positions and names mix is not public) or where another call or a
/// group stands before the closing bracket: so no byte is read for two calls.
fn connection<'a>(function: &'a [u8], rest: &'a [u8]) -> Option<Fact<'a>> {
    let index = match function {
        b"socket_open" | b"modbus_add_signal" | b"modbus_add_rw_signal" | b"modbus_send_custom_command" => Some(0),
        b"rpc_factory" => Some(1),
        _ if function.ends_with(b"_factory") => None,
        _ => return None,
    };
    let literals = index.and_then(|index| Some((index, single_tokens(rest)?)));
    let (mut target, mut port) = (None, None);
    if let Some((index, literals)) = literals {
        target = literals.get(index).copied().flatten().and_then(string);
        let number = literals.get(1).copied().flatten().filter(|token| token.lexeme.iter().all(u8::is_ascii_digit));
        port = number.filter(|_| function == b"socket_open").map(|token| token.lexeme);
    }
    Some(Fact::Connect { function, target, port })
}

/// The first two arguments, as far as each is one token.
fn single_tokens(rest: &[u8]) -> Option<[Option<Token<'_>>; 2]> {
    let mut single = [None; 2];
    let (mut argument, mut depth, mut tokens) = (0_usize, 0_usize, 0_usize);
    for token in Tokens::new(rest).code() {
        match (token.lexeme, depth) {
            (b"(", _) | (b"=", 0) => return None,
            (b")", 0) => return Some(single),
            (b",", 0) => {
                argument = argument.saturating_add(1);
                tokens = 0;
                continue;
            }
            (b"[", _) => depth = depth.saturating_add(1),
            (b"]" | b")", _) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(slot) = single.get_mut(argument) {
            *slot = (tokens == 0).then_some(token);
        }
        tokens = tokens.saturating_add(1);
    }
    None
}

/// The body of a string; one with a backslash has two readings and proves nothing.
fn string(token: Token<'_>) -> Option<&[u8]> {
    match (token.kind, token.lexeme) {
        (TokenKind::String, [open, body @ .., close]) if open == close && !body.contains(&b'\\') => Some(body),
        _ => None,
    }
}

const SLOTS: usize = 512;

/// The names that a text defines with `def`, `sec` and `thread`: an open-addressed table of places in the text, filled
/// to half. What does not fit is not local.
#[derive(Clone, Debug)]
struct Locals {
    /// Start and length; length 0 is free.
    slots: [(u32, u32); SLOTS],
}

impl Locals {
    fn of(text: &[u8]) -> Self {
        let mut locals = Self { slots: [(0, 0); SLOTS] };
        let mut free = SLOTS / 2;
        let mut defines = false;
        for token in Tokens::new(text).code() {
            if defines && token.kind == TokenKind::Name && free > 0 && !locals.contains(text, token.lexeme) {
                locals.insert(&token);
                free = free.saturating_sub(1);
            }
            defines = matches!(token.lexeme, b"def" | b"sec" | b"thread");
        }
        locals
    }

    fn insert(&mut self, token: &Token<'_>) {
        let place = u32::try_from(token.offset).ok().zip(u32::try_from(token.lexeme.len()).ok());
        let Some(place) = place else { return };
        for index in probes(token.lexeme) {
            match self.slots.get_mut(index) {
                Some(slot) if slot.1 == 0 => {
                    *slot = place;
                    return;
                }
                _ => {}
            }
        }
    }

    fn contains(&self, text: &[u8], name: &[u8]) -> bool {
        let places = probes(name).map_while(|index| self.slots.get(index).filter(|slot| slot.1 != 0));
        for (start, len) in places {
            let end = start.saturating_add(*len);
            if text.get(*start as usize..end as usize) == Some(name) {
                return true;
            }
        }
        false
    }
}

/// The slots to look at for `name`, in order: FNV-1a, then one after the other.
fn probes(name: &[u8]) -> impl Iterator<Item = usize> {
    let hash = name.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let first = (hash ^ hash >> 16) as usize;
    (0..SLOTS).map(move |step| first.wrapping_add(step) % SLOTS)
}
