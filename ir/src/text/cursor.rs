//! Reading a text token by token, knowing the line.

use std::str::FromStr;

use super::{Name, ParseError};
use crate::constants::ConstPool;
use crate::entity::ConstId;

/// The lines of a text that say something.
pub(crate) struct Lines<'a> {
    list: Vec<(usize, &'a str)>,
    at: usize,
    pub(crate) consts: &'a ConstPool,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str, consts: &'a ConstPool) -> Self {
        let list = text.split('\n').enumerate().map(|(i, l)| (i + 1, l.trim()));
        let list = list.filter(|(_, l)| !l.is_empty() && !l.starts_with(';')).collect();
        Self { list, at: 0, consts }
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> Cursor<'a> {
        let cursor = self.peek();
        self.at += 1;
        cursor
    }

    /// The next line, if it begins with this word.
    pub(crate) fn next_if(&mut self, word: &str) -> Option<Cursor<'a>> {
        let mut cursor = self.peek();
        let there = cursor.eat_word(word);
        self.at += usize::from(there);
        there.then_some(cursor)
    }

    /// Whether the next line does not begin with any of these words.
    pub(crate) fn before(&self, words: &[&str]) -> bool {
        !words.iter().any(|w| self.peek().eat_word(w))
    }

    fn peek(&self) -> Cursor<'a> {
        let last = self.list.last().map_or(1, |l| l.0 + 1);
        let (line, rest) = self.list.get(self.at).copied().unwrap_or((last, ""));
        Cursor { line, rest, consts: self.consts }
    }

    /// That the text ends here with a closing brace.
    pub(crate) fn finish(mut self) -> Result<(), ParseError> {
        let mut brace = self.next();
        brace.expect("}")?;
        brace.end()?;
        let rest = self.peek();
        if rest.rest.is_empty() { Ok(()) } else { Err(rest.fail("the end of the text")) }
    }
}

/// The rest of one line.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    line: usize,
    rest: &'a str,
    consts: &'a ConstPool,
}

impl<'a> Cursor<'a> {
    pub(crate) fn fail(&self, expected: impl Into<String>) -> ParseError {
        ParseError { line: self.line, expected: expected.into(), found: self.rest.to_owned() }
    }

    /// Takes `token` if it comes next.
    pub(crate) fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes a whole word if it comes next.
    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        let mut ahead = self.clone();
        let there = ahead.word().is_ok_and(|w| w == word);
        if there {
            self.rest = ahead.rest;
        }
        there
    }

    pub(crate) fn expect(&mut self, token: &str) -> Result<(), ParseError> {
        if self.eat(token) { Ok(()) } else { Err(self.fail(format!("`{token}`"))) }
    }

    pub(crate) fn end(&self) -> Result<(), ParseError> {
        if self.rest.trim().is_empty() { Ok(()) } else { Err(self.fail("the end of the line")) }
    }

    /// Letters, digits and underscores.
    pub(crate) fn word(&mut self) -> Result<&'a str, ParseError> {
        let found = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        found.ok_or_else(|| self.fail("a word"))
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> Option<&'a str> {
        let text = self.rest.trim_start();
        let end = text.find(|c| !wanted(c)).unwrap_or(text.len());
        let (found, rest) = text.split_at(end);
        if found.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(found)
    }

    /// A number, of whatever type.
    pub(crate) fn number<T: FromStr>(&mut self) -> Result<T, ParseError> {
        let before = self.clone();
        let found = self.take(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        found.and_then(|t| t.parse().ok()).ok_or_else(|| before.fail("a number"))
    }

    /// A quoted string.
    pub(crate) fn string(&mut self) -> Result<String, ParseError> {
        let before = self.clone();
        self.string_inner().ok_or_else(|| before.fail("a quoted string"))
    }

    fn string_inner(&mut self) -> Option<String> {
        let text = self.rest.trim_start().strip_prefix('"')?;
        let mut out = String::new();
        let mut chars = text.char_indices();
        loop {
            match chars.next()? {
                (at, '"') => {
                    self.rest = &text[at + 1..];
                    return Some(out);
                }
                (_, '\\') => match chars.next()?.1 {
                    'u' => {
                        let rest = chars.as_str().strip_prefix('{')?;
                        let (digits, _) = rest.split_once('}')?;
                        out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
                        chars.nth(digits.len() + 1)?;
                    }
                    c @ ('"' | '\\') => out.push(c),
                    _ => return None,
                },
                (_, c) => out.push(c),
            }
        }
    }

    /// A value or register.
    pub(crate) fn name<V: Name>(&mut self) -> Result<V, ParseError> {
        let before = self.clone();
        let index: Option<u32> = if self.eat(V::PREFIX) { self.number().ok() } else { None };
        index.map(|i| V::at(i as usize)).ok_or_else(|| before.fail(V::WHAT))
    }

    /// Whether a value or register comes next.
    pub(crate) fn at_name<V: Name>(&self) -> bool {
        self.clone().name::<V>().is_ok()
    }

    /// A constant, by its hash.
    pub(crate) fn constant(&mut self) -> Result<ConstId, ParseError> {
        let before = self.clone();
        if !self.eat("#") {
            return Err(before.fail("a constant (`#1a2b3c4d`)"));
        }
        let digits = self.word()?;
        let known = self.consts.find(&format!("#{digits}"));
        known.ok_or_else(|| before.fail("a constant of the pool"))
    }

    /// Items separated by commas, up to `close`.
    pub(crate) fn list<T>(
        &mut self,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        let mut out = Vec::new();
        if self.eat(close) {
            return Ok(out);
        }
        loop {
            out.push(item(self)?);
            if self.eat(close) {
                return Ok(out);
            }
            if !self.eat(",") {
                return Err(self.fail(format!("`,` or `{close}`")));
            }
        }
    }

    /// The first attribute of a block: `{key =`.
    pub(crate) fn open(&mut self, key: &str) -> Result<(), ParseError> {
        self.expect("{")?;
        self.key(key)
    }

    /// A further attribute: `, key =`.
    pub(crate) fn attribute(&mut self, key: &str) -> Result<(), ParseError> {
        self.expect(",")?;
        self.key(key)
    }

    /// Takes `key =` if it comes next.
    pub(crate) fn eat_key(&mut self, key: &str) -> bool {
        let mut ahead = self.clone();
        let there = ahead.key(key).is_ok();
        if there {
            *self = ahead;
        }
        there
    }

    /// `key =`.
    pub(crate) fn key(&mut self, key: &str) -> Result<(), ParseError> {
        if !self.eat_word(key) {
            return Err(self.fail(format!("attribute `{key}`")));
        }
        self.expect("=")
    }
}
