//! Joins the lines of a paragraph. Pure.

/// Prepares `text` for the next line of the same paragraph: removes the hyphen at the end of `text`, or adds a space.
///
/// A hyphen between lower-case letters is removed, because most such words were hyphenated at the line end. At a line end,
/// a hyphen that belongs to the word looks the same, so it is removed too.
pub fn join(text: &mut String, next: &str) {
    if is_hyphenated(text, next) {
        text.pop();
        return;
    }
    let (Some(last), Some(first)) = (text.chars().next_back(), next.chars().next()) else { return };
    let is_punctuation = |c: char| is_cjk(c) && !c.is_alphanumeric();
    if !(is_cjk(last) && is_cjk(first) || is_punctuation(last) || is_punctuation(first)) {
        text.push(' ');
    }
}

/// Returns whether `text` ends in a hyphenated word that `next` continues.
pub fn is_hyphenated(text: &str, next: &str) -> bool {
    let mut before = text.chars().rev();
    before.next().is_some_and(|c| matches!(c, '-' | '\u{2010}'))
        && before.next().is_some_and(char::is_lowercase)
        && next.starts_with(char::is_lowercase)
}

/// Returns whether a character is Han, kana or punctuation of these scripts. These scripts are written without spaces.
pub fn is_cjk(c: char) -> bool {
    matches!(c,
        '\u{2E80}'..='\u{312F}' | '\u{3190}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{FE30}'..='\u{FE4F}' | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}')
}
