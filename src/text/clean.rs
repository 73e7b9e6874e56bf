//! Removes invisible characters from a text and reduces white space to single spaces. Pure.

use std::iter;
use std::mem;

use super::joiner::{JOINER, NON_JOINER, is_spelling};

/// Version of the cleaning rules. Vectors depend on these rules, so the version is part of the fingerprint. Raise it with
/// every change that makes [`clean`] return a different text.
pub const VERSION: u32 = 3;

/// How many characters before and after a joiner decide whether it stays. Text of ordinary writing has at most 30 marks in a row
/// (UAX #15, Stream-Safe Text Format). The limit keeps the time linear for other text.
const CONTEXT_MAX: usize = 32;

/// Removes zero-width and control characters except joiners that are spelling, replaces every run of white space by one space,
/// and trims both ends.
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
        } else if !is_invisible(c) || (!space_due && stays(c, &cleaned, rest)) {
            if space_due {
                cleaned.push(' ');
                space_due = false;
            }
            cleaned.push(c);
        }
    }
}

/// Returns whether an invisible character stays between the cleaned text before it and the text after it.
fn stays(c: char, before: &str, after: &str) -> bool {
    let before = before.chars().rev().take(CONTEXT_MAX);
    // A text ends like a word.
    let after = after.chars().chain(iter::once(' ')).take(CONTEXT_MAX);
    matches!(c, JOINER | NON_JOINER)
        && is_spelling(c, before, after.filter(|&c| is_space(c) || !is_invisible(c)))
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

/// Returns whether a character is a soft hyphen, zero-width space, zero-width non-joiner, zero-width joiner, word joiner, byte
/// order mark or control character (Cc). [`clean`] removes all of them but the joiners that are spelling.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{200B}' | NON_JOINER | JOINER | '\u{2060}' | '\u{FEFF}') || c.is_control()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn removes_invisible_characters() {
        assert_eq!(clean("\u{FEFF}a\u{200B}b\u{200C}c\u{200D}d\u{2060}e\u{AD}f"), "abcdef");
        assert_eq!(clean(" \t a \u{200B} \r\n\u{3000}\u{A0} b\u{0}\u{7F}\u{9F} "), "a b");
        assert_eq!(clean("今天\u{3000}天气"), "今天 天气");
        assert_eq!(clean("a\u{1F}b"), "a b");
        assert_eq!(clean(" \u{200B}\n\u{FEFF}"), "");
    }

    #[test]
    fn keeps_joiners_that_change_the_word() {
        let kept = [
            // A1: Persian, with a mark on either side; Syriac; Mongolian.
            "می\u{200C}خواهم کتاب\u{200C}ها را و خانه\u{200C}ای",
            "بِ\u{200C}ّه",
            "ܒ\u{200C}ܒ",
            "ᠮ\u{200C}ᠣ",
            // A2: Devanagari, Bengali with a nukta.
            "क्\u{200C}ष",
            "ড়্\u{200C}ক",
            // B: Devanagari, Sinhala, and Malayalam at the end of a word and of the text.
            "क्\u{200D}ष",
            "ශ්\u{200D}රී",
            "ന്\u{200D} ന്\u{200D}",
            // Emojis with skin tones and styles.
            "👩‍👩‍👧 👩🏽\u{200D}🚀 🏳\u{FE0F}\u{200D}🌈 🧑\u{200D}⚕\u{FE0F} 🐈\u{200D}⬛",
        ];
        for text in kept {
            assert_eq!(clean(text), text);
        }
        // Other invisible characters do not separate a joiner from its letters, and a second joiner adds nothing.
        assert_eq!(clean("ب\u{200B}\u{200C}\u{AD}\u{200C}\u{200D}\u{0}ه"), "ب\u{200C}ه");
    }

    #[test]
    fn removes_joiners_that_change_nothing() {
        let noise = [
            // Dal and alef do not join to the next letter.
            ("د\u{200C}ه ا\u{200C}ب", "ده اب"),
            ("ب\u{200C} ه \u{200C}ه ب\u{200C}", "ب ه ه ب"),
            ("ب\u{200D}ه ب\u{200C}a", "به بa"),
            // No virama, no letter, and a dependent vowel.
            ("क\u{200C}ष क\u{200D}ष", "कष कष"),
            ("क्\u{200C} ्\u{200D}ष क्\u{200C}", "क् ्ष क्"),
            ("क्\u{200D}ि", "क्ि"),
            ("👩\u{200D} 👩\u{200D}a a\u{200D}👩 👩\u{200C}👩", "👩 👩a a👩 👩👩"),
            ("今\u{200C}天\u{200D}气 a\u{200D}b", "今天气 ab"),
        ];
        for (text, cleaned) in noise {
            assert_eq!(clean(text), cleaned);
        }
    }

    #[test]
    fn takes_linear_time_for_joiners_and_marks() {
        let started = Instant::now();
        for pattern in ["\u{200C}\u{64E}", "\u{200C}", "\u{200D}\u{94D}", "\u{200D}\u{FE0F}"] {
            assert!(clean(&format!("ب{}ه", pattern.repeat(1 << 15))).starts_with('ب'));
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn is_idempotent_and_leaves_no_double_or_outer_space(text in "([\\PC\\s\u{200B}\u{FEFF}\u{0}\u{1C}\u{85}]|[بهدकषि्👩🏽 \u{200B}\u{200C}\u{200D}\u{64E}\u{FE0F}])*") {
            let cleaned = clean(&text);
            prop_assert_eq!(clean(&cleaned), cleaned.as_str());
            prop_assert_eq!(cleaned.trim(), cleaned.as_str());
            prop_assert!(!cleaned.contains("  "));
            prop_assert!(cleaned.chars().all(|c| c == ' ' || [JOINER, NON_JOINER].contains(&c) || !(is_space(c) || is_invisible(c))));
            let visible = |t: &str| t.chars().filter(|&c| !is_space(c) && !is_invisible(c)).collect::<String>();
            prop_assert_eq!(visible(&text), visible(&cleaned));
        }
    }
}
