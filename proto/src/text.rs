//! Text of strangers, made fit to be shown: names, reasons, lines of kernels.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Whether a character does something to a terminal, or to the text around it, beside being seen: control characters, and
/// those of format (general categories Cc, Cf, Zl and Zp: direction overrides, joiners, spaces without width, soft hyphens).
#[must_use]
pub fn is_harmful(character: char) -> bool {
    // Printable ASCII is nearly all that is ever asked about, and looked up in no table.
    if (' '..='~').contains(&character) {
        return false;
    }
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    matches!(character.general_category(), Control | Format | LineSeparator | ParagraphSeparator)
}

/// The text on one line: harmful characters are spaces, so that what was apart stays apart.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if is_harmful(character) { ' ' } else { character }).collect()
}

/// The beginning of the text on one line, without harmful characters, in at most so many bytes.
#[must_use]
pub fn shortened(text: &str, bytes_max: usize) -> String {
    let cut = &text[..text.floor_char_boundary(bytes_max)];
    cut.chars().filter(|character| !is_harmful(*character)).collect()
}

/// The text with its line ends and tabulators, every other harmful character replaced by U+FFFD.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    let shown = |character: char| match character {
        '\n' | '\t' => character,
        harmful if is_harmful(harmful) => char::REPLACEMENT_CHARACTER,
        other => other,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_hides_or_moves_text_is_harmful() {
        let harmful = [
            '\0',
            '\n',
            '\r',
            '\t',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{ad}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{202e}',
            '\u{2028}',
            '\u{2029}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{feff}',
            '\u{fff9}',
            '\u{e0041}',
        ];
        for character in harmful {
            assert!(is_harmful(character), "{character:?}");
        }
        for character in "aZ09 ~!é漢字ß\u{301}😀→±\u{a0}\u{fffd}".chars() {
            assert!(!is_harmful(character), "{character:?}");
        }
    }

    #[test]
    fn shown_text_is_one_line_and_bounded() {
        assert_eq!(printable("a\u{202e}b\nc"), "a b c");
        assert_eq!(shortened("gr\u{200b}üße", 5), "gr");
        assert_eq!(shortened("grüße", 4), "grü");
        assert_eq!(shortened("grüße", 3), "gr");
        assert_eq!(shortened("a\x1bb", 100), "ab");
        assert_eq!(printable_lines("a\n\tb\u{2066}\x1b"), "a\n\tb\u{fffd}\u{fffd}");
    }
}
