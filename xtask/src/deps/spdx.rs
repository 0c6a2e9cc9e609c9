//! Licence expressions: `(MIT OR Apache-2.0) AND BSD-3-Clause`, and the old `MIT/Apache-2.0`.

/// Whether one may use a crate under this expression when `allowed` says which licences are fine.
/// An exception (`WITH …`) is part of its licence's name. `None` when it cannot be read.
pub(super) fn is_satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { tokens: &tokens, allowed };
    let satisfied = reader.any()?;
    reader.tokens.is_empty().then_some(satisfied)
}

struct Reader<'a> {
    tokens: &'a [&'a str],
    allowed: &'a dyn Fn(&str) -> bool,
}

impl Reader<'_> {
    fn take(&mut self, expected: &str) -> bool {
        match self.tokens.split_first() {
            Some((&first, rest)) if first == expected => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }

    fn any(&mut self) -> Option<bool> {
        let mut satisfied = self.all()?;
        while self.take("OR") {
            satisfied |= self.all()?;
        }
        Some(satisfied)
    }

    fn all(&mut self) -> Option<bool> {
        let mut satisfied = self.one()?;
        while self.take("AND") {
            satisfied &= self.one()?;
        }
        Some(satisfied)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let inner = self.any()?;
            return self.take(")").then_some(inner);
        }
        let (&license, rest) = self.tokens.split_first()?;
        if matches!(license, "AND" | "OR" | "WITH" | ")") {
            return None;
        }
        self.tokens = rest;
        if self.take("WITH") {
            let (&exception, rest) = self.tokens.split_first()?;
            self.tokens = rest;
            return Some((self.allowed)(&format!("{license} WITH {exception}")));
        }
        Some((self.allowed)(license))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mit_or_isc(license: &str) -> bool {
        matches!(license, "MIT" | "ISC" | "Apache-2.0 WITH LLVM-exception")
    }

    #[test]
    fn one_allowed_alternative_is_enough_and_every_conjunct_is_needed() {
        for (expression, expected) in [
            ("MIT", Some(true)),
            ("GPL-3.0", Some(false)),
            ("GPL-3.0 OR MIT", Some(true)),
            ("MIT/GPL-3.0", Some(true)),
            ("MIT AND GPL-3.0", Some(false)),
            ("(GPL-3.0 OR MIT) AND ISC", Some(true)),
            ("ISC AND (GPL-3.0 OR BSD-3-Clause)", Some(false)),
            ("GPL-3.0 OR MIT AND ISC", Some(true)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("Apache-2.0", Some(false)),
        ] {
            assert_eq!(is_satisfied(expression, &mit_or_isc), expected, "{expression}");
        }
    }

    #[test]
    fn an_expression_that_cannot_be_read_is_not_taken_for_permission() {
        for expression in ["", "MIT OR", "(MIT", "MIT)", "AND MIT", "MIT ISC", "MIT WITH"] {
            assert_eq!(is_satisfied(expression, &mit_or_isc), None, "{expression}");
        }
    }
}
