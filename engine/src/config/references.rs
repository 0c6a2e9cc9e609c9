//! References to the environment in values of `env`: `${{ env.NAME }}`, `${NAME}` and `$NAME`.
//!
//! Names are upper-case letters, digits and underscores. A name that has no value stays as it is
//! written.

/// The text with its references replaced.
pub fn resolve<'v>(text: &str, value_of: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match reference(rest) {
            Some((name, length)) => {
                out.push_str(value_of(name).unwrap_or(&rest[..length]));
                rest = &rest[length..];
            }
            None => {
                out.push('$');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The name at the beginning of `text`, which starts with `$`, and the bytes it takes.
fn reference(text: &str) -> Option<(&str, usize)> {
    if let Some(inner) = text.strip_prefix("${{") {
        let (inner, _) = inner.split_once("}}")?;
        let name = inner.trim().strip_prefix("env.")?;
        return is_name(name).then_some((name, inner.len() + 5));
    }
    if let Some(inner) = text.strip_prefix("${") {
        let (name, _) = inner.split_once('}')?;
        return is_name(name).then_some((name, name.len() + 3));
    }
    let name = text.strip_prefix('$')?;
    let end = name.find(|c: char| !is_name_char(c)).unwrap_or(name.len());
    let name = &name[..end];
    is_name(name).then_some((name, name.len() + 1))
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}

fn is_name(name: &str) -> bool {
    name.chars().all(is_name_char) && name.chars().next().is_some_and(|c| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_home(text: &str) -> String {
        resolve(text, |name| (name == "HOME").then_some("/root"))
    }

    #[test]
    fn each_form_is_replaced_and_everything_else_is_left_alone() {
        assert_eq!(with_home("${{ env.HOME }}/a"), "/root/a");
        assert_eq!(with_home("${HOME}/a:$HOME/b"), "/root/a:/root/b");
        assert_eq!(
            with_home("$home ${HOME ${{ HOME }} $ $$ $1 $MISSING"),
            "$home ${HOME ${{ HOME }} $ $$ $1 $MISSING"
        );
        assert_eq!(with_home("costs 5$"), "costs 5$");
    }

    proptest! {
        #[test]
        fn without_values_every_text_stays_as_it_is(text in "[ ${}A-Zaenv.]{0,40}") {
            prop_assert_eq!(resolve(&text, |_| None), text);
        }
    }
}
