//! What stands around an expression, in JavaScript: the helper functions of the language, and what
//! is taken away from the built-in ones.
//!
//! The interrupt handler ends endless loops of a script, but it is asked only every ten thousand
//! steps of the script: a loop around a built-in function that takes milliseconds by itself would go
//! on for minutes. So built-in functions that walk through texts and lists are wrapped: they count
//! what they do in steps of the script, they take lists of bounded length, and searching a text in a
//! text has a bound as well. What is not mentioned is not there: most conditions mention nothing, and
//! setting up is most of what an evaluation costs.

use std::fmt::Write;

/// Whether a text only reads and compares: nothing in it is called or assigned, so there is nothing
/// to be kept from and no helper to be defined. Most conditions are like that.
pub(super) fn is_plain(source: &str) -> bool {
    let compares = |at: usize| {
        // `==`, `===`, `!=`, `!==`, `<=`, `>=`
        let before = source[..at].chars().next_back().unwrap_or(' ');
        let after = source[at + 1..].chars().next().unwrap_or(' ');
        matches!(before, '=' | '!' | '<' | '>') || after == '='
    };
    !source.contains(['(', '`', '\\'])
        && !source.contains("++")
        && !source.contains("--")
        && !source.contains("<<=")
        && !source.contains(">>=")
        && source.match_indices('=').all(|(at, _)| compares(at))
}

/// The source of a function that takes the values an expression sees and prepares its world.
pub(super) fn setup(source: &str) -> String {
    let mut setup = String::with_capacity(8192);
    setup.push_str(START);
    for (owner, functions) in [("A", LISTS), ("S", TEXTS)] {
        for (name, definition) in functions {
            // Texts are made of lists by `join`, also without being asked to.
            if source.contains(name) || *name == "join" {
                let _ = write!(setup, "put({owner}, '{name}', {definition});");
            } else {
                let _ = write!(setup, "delete {owner}.{name};");
            }
        }
    }
    for name in WALKED {
        if source.contains(name) {
            let _ = write!(setup, "put(S, '{name}', counted(S.{name}));");
        } else {
            let _ = write!(setup, "delete S.{name};");
        }
    }
    for (owner, names) in [("Object", OBJECTS), ("JSON", &["parse", "stringify"])] {
        if source.contains(owner) {
            for name in names {
                let _ = write!(setup, "put({owner}, '{name}', measured({owner}.{name}));");
            }
        }
    }
    for (name, definition) in GLOBALS {
        if source.contains(name) {
            let _ = write!(setup, "globalThis.{name} = {definition};");
        }
    }
    setup.push_str(END);
    setup
}

const START: &str = "\
(function (values) {
  'use strict';
  const A = Array.prototype, S = String.prototype, R = RegExp.prototype, Text = String;
  const invoke = Reflect.apply, isArray = Array.isArray, define = Object.defineProperty;
  const keys = Object.keys, sourceOf = Object.getOwnPropertyDescriptor(R, 'source').get;
  const put = (on, name, value) => define(on, name, { value, writable: true, configurable: true });
  const count = (steps) => { for (let left = steps >> 6; left > 0; left--); };
  const short = (list) => {
    if (!isArray(list) || list.length > 100000) throw new RangeError('a list is too long for this');
    count(list.length * 64);
    return list;
  };
  const size = (x) =>
    typeof x === 'string' || isArray(x) ? x.length : x && typeof x === 'object' ? keys(x).length * 64 : 0;
  const bounded = (native) => function (...args) { return invoke(native, short(this), args); };
  const counted = (native) => function (...args) {
    const text = Text(this);
    count(text.length);
    const result = invoke(native, text, args);
    count(size(result));
    return result;
  };
  const measured = (native) => function (...args) {
    count(size(args[0]));
    const result = invoke(native, this, args);
    count(size(result) * 8);
    return result;
  };
  const isPattern = (x) => {
    try { return typeof x === 'object' && x !== R && typeof invoke(sourceOf, x, []) === 'string'; }
    catch { return false; }
  };
  const searching = (native, byPattern) => function (part, ...rest) {
    const text = Text(this);
    count(text.length);
    if (byPattern && isPattern(part)) return invoke(byPattern, part, [text, ...rest]);
    if (part !== undefined) {
      part = Text(part);
      if (text.length * part.length > 1e8) throw new RangeError('a text is too long to be searched');
      count(text.length * part.length);
    }
    return invoke(native, text, [part, ...rest]);
  };
  const issuesWith = (list, test) => isArray(list) ? list.filter((issue) => test(issue ?? {})) : [];
  const lower = S.toLowerCase, fold = (text) => { text = Text(text ?? ''); count(text.length); return invoke(lower, text, []); };
  const within = searching(S.includes), split = searching(S.split, R[Symbol.split]);
  const has = A.includes, starts = S.startsWith, ends = S.endsWith, NativeSet = Set;
  const UniqueSet = function (items) {
    const set = new NativeSet();
    if (items !== undefined && items !== null) for (const item of items) set.add(item);
    return set;
  };
  UniqueSet.prototype = NativeSet.prototype;
  put(NativeSet.prototype, 'constructor', UniqueSet);
  put(globalThis, 'Set', UniqueSet);
";

/// Last, so that nothing above needs what is gone. Code cannot be made from text, numbers without
/// limits and iterators that do work by themselves are not there.
const END: &str = "
  for (const name of Object.keys(values)) globalThis[name] = values[name];
  const iterator = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));
  for (const name of Object.getOwnPropertyNames(iterator)) delete iterator[name];
  for (const f of [function () {}, async function () {}, function* () {}, async function* () {}])
    define(Object.getPrototypeOf(f), 'constructor', { value: undefined });
  for (const name of ['eval', 'Function', 'BigInt', 'Iterator', 'Promise']) delete globalThis[name];
  delete String.raw;
})";

/// Methods of lists, and what stands for them when they are mentioned.
const LISTS: &[(&str, &str)] = &[
    ("join", "bounded(A.join)"),
    ("toLocaleString", "bounded(A.toLocaleString)"),
    ("reverse", "bounded(A.reverse)"),
    ("sort", "bounded(A.sort)"),
    ("toReversed", "bounded(A.toReversed)"),
    ("toSorted", "bounded(A.toSorted)"),
    ("toSpliced", "bounded(A.toSpliced)"),
    ("slice", "bounded(A.slice)"),
    ("splice", "bounded(A.splice)"),
    ("shift", "bounded(A.shift)"),
    ("unshift", "bounded(A.unshift)"),
    ("copyWithin", "bounded(A.copyWithin)"),
    (
        "concat",
        "function (...parts) { const all = []; for (const part of [this, ...parts]) \
         if (isArray(part)) for (const item of part) all.push(item); else all.push(part); return all; }",
    ),
    (
        "flatMap",
        "function (f, on) { const all = []; let at = 0; for (const item of short(this)) { \
         const part = invoke(f, on, [item, at++, this]); \
         if (isArray(part)) for (const inner of part) all.push(inner); else all.push(part); } return all; }",
    ),
    (
        "flat",
        "(() => { const flat = (list, depth) => { const all = []; for (const item of list) \
         if (depth > 0 && isArray(item)) for (const inner of flat(item, depth - 1)) all.push(inner); \
         else all.push(item); return all; }; \
         return function (depth = 1) { return flat(short(this), depth); }; })()",
    ),
];

/// Methods of texts, and what stands for them when they are mentioned.
const TEXTS: &[(&str, &str)] = &[
    ("includes", "within"),
    ("indexOf", "searching(S.indexOf)"),
    ("lastIndexOf", "searching(S.lastIndexOf)"),
    ("split", "split"),
    (
        "replaceAll",
        "(() => { const native = R[Symbol.replace]; return function (part, by) { \
         const whole = Text(this); \
         if (isPattern(part)) { \
         if (!part.global) throw new TypeError('replaceAll needs a pattern with the flag g'); \
         return invoke(native, part, [whole, by]); } \
         part = Text(part); \
         const [first, ...others] = short(invoke(split, whole, [part])); \
         let text = first, at = first.length; for (const other of others) { \
         text += (typeof by === 'function' ? by(part, at, whole) : by) + other; \
         at += part.length + other.length; } return text; }; })()",
    ),
    ("replace", "searching(S.replace, R[Symbol.replace])"),
    (
        "localeCompare",
        "function (other) { const a = Text(this), b = Text(other); count(a.length); \
         return a < b ? -1 : a > b ? 1 : 0; }",
    ),
    ("normalize", "function () { return Text(this); }"),
];

/// Methods of texts that walk through all of it and are otherwise as they are.
const WALKED: &[&str] = &[
    "anchor",
    "big",
    "blink",
    "bold",
    "endsWith",
    "fixed",
    "fontcolor",
    "fontsize",
    "isWellFormed",
    "italics",
    "link",
    "match",
    "matchAll",
    "padEnd",
    "padStart",
    "repeat",
    "search",
    "small",
    "startsWith",
    "strike",
    "sub",
    "substr",
    "substring",
    "sup",
    "toLocaleLowerCase",
    "toLocaleUpperCase",
    "toLowerCase",
    "toUpperCase",
    "toWellFormed",
    "trim",
    "trimEnd",
    "trimLeft",
    "trimRight",
    "trimStart",
];

/// Functions that walk through an object.
const OBJECTS: &[&str] =
    &["assign", "entries", "fromEntries", "getOwnPropertyNames", "groupBy", "keys", "values"];

/// Helper functions of the language.
const GLOBALS: &[(&str, &str)] = &[
    (
        "contains",
        "(text, part) => isArray(text) ? invoke(has, text, [part]) : invoke(within, fold(text), [fold(part)])",
    ),
    ("startsWith", "(text, part) => invoke(starts, fold(text), [fold(part)])"),
    ("endsWith", "(text, part) => invoke(ends, fold(text), [fold(part)])"),
    (
        "length",
        "(x) => typeof x === 'string' || isArray(x) ? x.length \
         : x && typeof x === 'object' ? Object.keys(x).length : 0",
    ),
    ("always", "() => true"),
    ("success", "() => true"),
    ("failure", "() => false"),
    (
        "hasIssue",
        "(list, field, value) => issuesWith(list, (issue) => issue[field] === value).length > 0",
    ),
    (
        "hasIssueWith",
        "(list, field, value) => issuesWith(list, (issue) => issue[field] === value).length > 0",
    ),
    (
        "countIssues",
        "(list, field, value) => issuesWith(list, (issue) => issue[field] === value).length",
    ),
    (
        "hasFileMatching",
        "(list, part) => issuesWith(list, (issue) => invoke(within, Text(issue.file ?? ''), [part])).length > 0",
    ),
    (
        "hasFileWith",
        "(list, part) => issuesWith(list, (issue) => invoke(within, Text(issue.file ?? ''), [part])).length > 0",
    ),
    // Outside of a code host everybody may do everything.
    ("hasMinPermission", "() => true"),
    ("isOwner", "() => true"),
    ("isMember", "() => true"),
    ("isCollaborator", "() => true"),
    ("isContributor", "() => true"),
    ("isFirstTimer", "() => false"),
    ("log", "() => undefined"),
    ("memory", "{ get: () => undefined, has: () => false, list: () => [], getAll: () => ({}) }"),
];

/// Whether the text has a number without limits, like `10n`: powers of those take minutes in a
/// single step. Looks into strings as well; a text `5n` in one is told apart by nobody.
pub(super) fn has_big_number(source: &str) -> bool {
    let mut before = ' ';
    let mut rest = source.chars().peekable();
    while let Some(c) = rest.next() {
        let starts =
            c.is_ascii_digit() && !(before.is_alphanumeric() || before == '_' || before == '$');
        before = c;
        if starts {
            while let Some(next) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                before = next;
            }
            if before == 'n' {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_calls_or_assigns_is_not_plain() {
        for source in
            ["output.error", "output.n >= 3 && env.CI === 'true'", "a != b || c < d", "true"]
        {
            assert!(is_plain(source), "{source}");
        }
        for source in
            ["f()", "a.length = 4e9", "x++", "`${a}`", "a = b", "a += b", "a <<= 1", "x => y"]
        {
            assert!(!is_plain(source), "{source}");
        }
    }

    #[test]
    fn numbers_without_limits_are_recognised() {
        for source in ["10n", "a + 0x1Fn", "[1_0n]", "x?1n:2"] {
            assert!(has_big_number(source), "{source}");
        }
        for source in ["10", "len", "a1n", "$1n", "x.n", "1e5", "'2nd'"] {
            assert!(!has_big_number(source), "{source}");
        }
    }
}
