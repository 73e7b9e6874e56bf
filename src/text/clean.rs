//! Removes invisible characters from a text and reduces white space to single spaces. Pure.

use std::mem;

/// Version of the cleaning rules. Vectors depend on these rules, so the version is part of the fingerprint. Raise it with
/// every change that makes [`clean`] return a different text.
pub const VERSION: u32 = 2;

/// Removes zero-width and control characters, replaces every run of white space by one space, and trims both ends.
/// Cleaning a clean text changes nothing: `clean(clean(x)) == clean(x)`.
///
/// White space means all characters with the Unicode property `White_Space`, and the information separators U+001C to U+001F,
/// which separate words in old data files.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut space_due = false;
    let mut rest = text;
    loop {
        // Few characters of a usual text need cleaning, so the loop copies all text up to the next such character in one
        // step.
        let (plain, rest_of_text) = rest.split_at(plain_len(rest.as_bytes()));
        if !plain.is_empty() {
            if mem::take(&mut space_due) {
                cleaned.push(' ');
            }
            cleaned.push_str(plain);
        }
        let mut chars = rest_of_text.chars();
        let Some(c) = chars.next() else { return cleaned };
        rest = chars.as_str();
        if is_space(c) {
            space_due = !cleaned.is_empty();
        } else if !is_invisible(c) {
            if space_due {
                cleaned.push(' ');
                space_due = false;
            }
            cleaned.push(c);
        }
    }
}

/// Returns how many bytes at the start of a text need no cleaning: visible ASCII characters with single spaces between them.
fn plain_len(bytes: &[u8]) -> usize {
    let is_visible = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_graphic);
    let mut at = 0;
    while is_visible(at) || (at > 0 && bytes.get(at) == Some(&b' ') && is_visible(at + 1)) {
        at += 1;
    }
    at
}

/// Returns whether a character separates words.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1C}'..='\u{1F}')
}

/// Returns whether [`clean`] removes a character: a soft hyphen, zero-width space, zero-width non-joiner, zero-width joiner, word
/// joiner, byte order mark or control character (Cc).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{200B}' | '\u{200C}' | '\u{200D}' | '\u{2060}' | '\u{FEFF}') || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn removes_invisible_characters() {
        assert_eq!(clean("\u{FEFF}a\u{200B}b\u{200C}c\u{200D}d\u{2060}e\u{AD}f"), "abcdef");
        assert_eq!(clean(" \t a \u{200B} \r\n\u{3000}\u{A0} b\u{0}\u{7F}\u{9F} "), "a b");
        assert_eq!(clean("今天\u{3000}天气"), "今天 天气");
        assert_eq!(clean("a\u{1F}b"), "a b");
        assert_eq!(clean(" \u{200B}\n\u{FEFF}"), "");
    }

    proptest! {
        #[test]
        fn is_idempotent_and_leaves_no_double_or_outer_space(text in "[\\PC\\s\u{200B}\u{FEFF}\u{0}\u{1C}\u{85}]*") {
            let cleaned = clean(&text);
            prop_assert_eq!(clean(&cleaned), cleaned.as_str());
            prop_assert_eq!(cleaned.trim(), cleaned.as_str());
            prop_assert!(!cleaned.contains("  "));
            prop_assert!(cleaned.chars().all(|c| c == ' ' || !(is_space(c) || is_invisible(c))));
            let visible = |t: &str| t.chars().filter(|&c| !is_space(c) && !is_invisible(c)).collect::<String>();
            prop_assert_eq!(visible(&text), visible(&cleaned));
        }
    }
}
