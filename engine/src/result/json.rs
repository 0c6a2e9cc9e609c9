//! Finding JSON in what a program wrote, the way the language has it: the whole text, a value at
//! its end, any value in it, also one in loose spelling.
//!
//! Programs write megabytes of logs; each step looks at a text a bounded number of times.

use serde_json::{Map, Value};

/// What a text says.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    pub(super) value: Value,
    /// The whole text was JSON.
    pub(super) is_whole: bool,
}

/// Opening brackets that are tried before a text counts as plain.
const MAX_TRIES: usize = 64;
/// Texts beyond this are only tried as a whole and at their end.
const MAX_SEARCHED_BYTES: usize = 1024 * 1024;

pub(super) fn parse(text: &str) -> Parsed {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        return Parsed { value: unwrap_single(value), is_whole: true };
    }
    let found = at_the_end(text).or_else(|| anywhere(text)).map(unwrap_single);
    let value = found
        .or_else(|| stated_error(text).map(|error| serde_json::json!({ "error": error })))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    Parsed { value, is_whole: false }
}

/// `error: true` or `error: false` somewhere in a text.
pub(crate) fn stated_error(text: &str) -> Option<bool> {
    let mut rest = text;
    for _ in 0..MAX_TRIES {
        let at = rest.find("error")?;
        let before = rest[..at].chars().next_back();
        rest = &rest[at + "error".len()..];
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let after = rest.trim_start_matches(['"', '\'']).trim_start();
        if let Some(value) = after.strip_prefix([':', '=']) {
            let value = value.trim_start().to_ascii_lowercase_prefix();
            if value.starts_with("true") {
                return Some(true);
            }
            if value.starts_with("false") {
                return Some(false);
            }
        }
    }
    None
}

trait Prefix {
    fn to_ascii_lowercase_prefix(&self) -> String;
}

impl Prefix for str {
    fn to_ascii_lowercase_prefix(&self) -> String {
        self.chars().take(5).map(|c| c.to_ascii_lowercase()).collect()
    }
}

/// `[x]` is `x` where `x` is an object or a string that holds JSON.
fn unwrap_single(value: Value) -> Value {
    let Value::Array(mut items) = value else { return value };
    if items.len() != 1 {
        return Value::Array(items);
    }
    match &items[0] {
        Value::Object(_) => items.remove(0),
        Value::String(text) => match serde_json::from_str::<Value>(text.trim()) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => inner,
            _ => Value::Array(items),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Value::Array(items),
    }
}

/// An object or array that ends where the text ends. Programs print logs first and the result last,
/// usually on a line of its own, so lines are tried before every bracket.
fn at_the_end(text: &str) -> Option<Value> {
    let close = text.chars().next_back().filter(|c| matches!(c, '}' | ']'))?;
    let open = if close == '}' { '{' } else { '[' };
    let starts = text.match_indices(open).map(|(at, _)| at).filter(|at| {
        text[..*at].trim_end_matches([' ', '\t']).is_empty()
            || text[..*at].trim_end_matches([' ', '\t']).ends_with('\n')
    });
    // The first line that begins the value is the outermost.
    let tried = starts.take(MAX_TRIES).find_map(|at| serde_json::from_str(&text[at..]).ok());
    tried.or_else(|| {
        let start = matching_open(text)?;
        serde_json::from_str(&text[start..]).ok()
    })
}

/// Where the bracket opens that the last character closes, going backwards; strings are skipped as
/// far as that is possible from behind.
fn matching_open(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut quoted = false;
    for at in (0..bytes.len()).rev() {
        match bytes[at] {
            b'"' => {
                let slashes = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                if slashes % 2 == 0 {
                    quoted = !quoted;
                }
            }
            b'}' | b']' if !quoted => depth += 1,
            b'{' | b'[' if !quoted => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The first balanced object or array that can be read, strictly or loosely.
fn anywhere(text: &str) -> Option<Value> {
    if text.len() > MAX_SEARCHED_BYTES {
        return None;
    }
    let bytes = text.as_bytes();
    let mut budget = text.len() * 4;
    let mut at = 0;
    for _ in 0..MAX_TRIES {
        let start = at + text[at..].find(['{', '['])?;
        let end = balanced(&bytes[start..]).map(|length| start + length);
        budget = budget.checked_sub(end.unwrap_or(bytes.len()) - start)?;
        if let Some(end) = end {
            let candidate = &text[start..end];
            if let Ok(value) = serde_json::from_str(candidate) {
                return Some(value);
            }
            if let Some(value) = Loose::parse(candidate) {
                return Some(value);
            }
        }
        at = start + 1;
    }
    None
}

/// Length of the bracketed text at the beginning, if it is closed.
fn balanced(bytes: &[u8]) -> Option<usize> {
    let mut open: Vec<u8> = Vec::new();
    let mut quote = None;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        match (quote, byte) {
            (Some(_), b'\\') => at += 1,
            (Some(mark), _) if mark == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"') => quote = Some(byte),
            (None, b'{') => open.push(b'}'),
            (None, b'[') => open.push(b']'),
            (None, b'}' | b']') => {
                if open.pop() != Some(byte) {
                    return None;
                }
                if open.is_empty() {
                    return Some(at + 1);
                }
            }
            (None, _) => {}
        }
        at += 1;
    }
    None
}

/// JSON as people write it: single quotes, keys without quotes, commas after the last element.
struct Loose<'t> {
    text: &'t str,
    at: usize,
}

/// Levels of nesting in loose JSON.
const MAX_DEPTH: usize = 64;

impl<'t> Loose<'t> {
    fn parse(text: &'t str) -> Option<Value> {
        let mut loose = Self { text, at: 0 };
        let value = loose.value(0)?;
        loose.skip_blank();
        (loose.at == text.len()).then_some(value)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, expected: char) -> Option<()> {
        (self.peek()? == expected).then(|| self.at += expected.len_utf8())
    }

    fn skip_blank(&mut self) {
        self.at = self.text.len() - self.text[self.at..].trim_start().len();
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_blank();
        match self.peek()? {
            '{' => self.object(depth),
            '[' => self.array(depth),
            '"' | '\'' => self.string().map(Value::String),
            _ => {
                let rest = &self.text[self.at..];
                let end = rest.find([',', '}', ']', '\n']).unwrap_or(rest.len());
                let word = rest[..end].trim();
                self.at += end;
                // Numbers and literals; a bare word is no value.
                serde_json::from_str(word).ok()
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.eat('{')?;
        let mut object = Map::new();
        loop {
            self.skip_blank();
            if self.eat('}').is_some() {
                return Some(Value::Object(object));
            }
            let key = match self.peek()? {
                '"' | '\'' => self.string()?,
                _ => {
                    let rest = &self.text[self.at..];
                    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || c == '-';
                    let end = rest.find(|c| !is_name(c)).filter(|end| *end > 0)?;
                    self.at += end;
                    rest[..end].to_owned()
                }
            };
            self.skip_blank();
            self.eat(':')?;
            let value = self.value(depth + 1)?;
            object.insert(key, value);
            self.skip_blank();
            if self.eat(',').is_none() && self.peek()? != '}' {
                return None;
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        self.eat('[')?;
        let mut items = Vec::new();
        loop {
            self.skip_blank();
            if self.eat(']').is_some() {
                return Some(Value::Array(items));
            }
            items.push(self.value(depth + 1)?);
            self.skip_blank();
            if self.eat(',').is_none() && self.peek()? != ']' {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.peek()?;
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        for (offset, c) in self.text[start..].char_indices() {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == quote {
                let inner = &self.text[start..start + offset];
                self.at = start + offset + 1;
                if !inner.contains('\\') {
                    return Some(inner.to_owned());
                }
                let inner = inner.replace("\\'", "'");
                let inner = if quote == '\'' { inner.replace('"', "\\\"") } else { inner };
                return serde_json::from_str(&format!("\"{inner}\"")).ok();
            }
        }
        None
    }
}
