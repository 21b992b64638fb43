//! Words of a command that somebody is to type.

use std::borrow::Cow;
use std::ffi::OsStr;

/// A path, a name or a join string as one word for the shell: in quotes where it needs them. Bytes that are no UTF-8 are
/// replaced, for a terminal shows no others, and a zero byte ends the word, as it would for the shell.
#[must_use]
pub fn word(text: impl AsRef<OsStr>) -> String {
    let text = text.as_ref().to_string_lossy();
    let text = text.split('\0').next().unwrap_or_default();
    shlex::try_quote(text).unwrap_or(Cow::Borrowed("''")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_needs_quotes_gets_them() {
        assert_eq!(word("/srv/grid-1/data_2.toml"), "/srv/grid-1/data_2.toml");
        assert_eq!(word("/srv/my grid"), "'/srv/my grid'");
        assert_eq!(word("it's"), r#""it's""#);
        assert_eq!(word(""), "''");
        assert_eq!(word("starling://h:1/ab#cd"), "'starling://h:1/ab#cd'");
    }

    proptest! {
        #[test]
        fn a_word_is_read_as_it_was(text in "[^\0]{0,40}") {
            prop_assert_eq!(shlex::split(&format!("x {} y", word(&text))), Some(vec!["x".into(), text, "y".into()]));
        }
    }
}
