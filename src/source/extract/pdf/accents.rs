//! Joins a letter and its accent if the page draws them as two glyphs. In old TeX fonts, letters and accents are separate
//! glyphs.

/// Minimum overlap of a letter and its accent, in ems.
const OVERLAP: f64 = 0.15;

/// Joins `next` with the last character of `text` if one of them is a letter and the other is an accent that overlaps the
/// letter. `text` then ends in the letter and a combining mark, even if the accent was drawn first. Returns whether the two
/// characters were joined. `overlap` is the overlap of the two glyphs, in ems.
pub fn compose(text: &mut String, next: &str, overlap: f64) -> bool {
    let mut chars = next.chars();
    let (Some(last), Some(first), None) = (text.chars().next_back(), chars.next(), chars.next()) else {
        return false;
    };
    if overlap < OVERLAP {
        return false;
    }
    match (combining(last), combining(first)) {
        (Some(mark), None) if first.is_alphabetic() => {
            text.pop();
            text.push(with_dot(first));
            text.push(mark);
            true
        }
        (None, Some(mark)) if last.is_alphabetic() => {
            text.pop();
            text.push(with_dot(last));
            text.push(mark);
            true
        }
        _ => false,
    }
}

/// Returns the normal letter for a dotless i or j. Returns any other letter unchanged. Fonts use the dotless letters under
/// accents.
fn with_dot(letter: char) -> char {
    match letter {
        '\u{131}' => 'i',
        '\u{237}' => 'j',
        other => other,
    }
}

/// Returns the combining mark for an accent. Returns `None` if the character is not an accent.
fn combining(accent: char) -> Option<char> {
    Some(match accent {
        '`' => '\u{300}',
        '\u{B4}' => '\u{301}',
        '^' | '\u{2C6}' => '\u{302}',
        '~' | '\u{2DC}' => '\u{303}',
        '\u{AF}' | '\u{2C9}' => '\u{304}',
        '\u{2D8}' => '\u{306}',
        '\u{2D9}' => '\u{307}',
        '\u{A8}' => '\u{308}',
        '\u{2DA}' => '\u{30A}',
        '\u{2DD}' => '\u{30B}',
        '\u{2C7}' => '\u{30C}',
        '\u{B8}' => '\u{327}',
        '\u{2DB}' => '\u{328}',
        _ => return None,
    })
}
