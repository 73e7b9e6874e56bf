//! Puts lines of right-to-left scripts into reading order. PDF files draw such lines from left to right. No other module
//! uses unicode-bidi.

use unicode_bidi::{BidiClass, BidiInfo, Level, bidi_class};

/// Returns a line that is in drawing order in reading order, and the other way round. Returns `None` for a line without
/// right-to-left characters, because both orders are the same.
pub fn turned(line: &str) -> Option<String> {
    let count = |of: &[BidiClass]| line.chars().filter(|c| of.contains(&bidi_class(*c))).count();
    let right = count(&[BidiClass::R, BidiClass::AL]);
    if right == 0 {
        return None;
    }
    let level = if right >= count(&[BidiClass::L]) { Level::rtl() } else { Level::ltr() };
    // The bidirectional algorithm (UAX #9) converts reading order to drawing order. If the algorithm is applied to a line in
    // drawing order, the result is nearly always the reading order.
    let info = BidiInfo::new(line, Some(level));
    let paragraph = info.paragraphs.first()?;
    let (levels, runs) = info.visual_runs(paragraph, paragraph.range.clone());
    let mut text = String::with_capacity(line.len());
    for run in runs {
        if levels[run.start].is_rtl() {
            text.extend(line[run].chars().rev().map(mirrored));
        } else {
            text.push_str(&line[run]);
        }
    }
    Some(text)
}

/// Returns the matching bracket of a bracket. Returns any other character unchanged.
fn mirrored(c: char) -> char {
    const PAIRS: &str = "()[]{}<>«»";
    match PAIRS.chars().position(|bracket| bracket == c) {
        Some(at) => PAIRS.chars().nth(at ^ 1).unwrap_or(c),
        None => c,
    }
}

#[cfg(test)]
mod tests {
    use super::turned;

    #[test]
    fn lines_are_turned() {
        assert_eq!(turned("plain (text)"), None);
        assert_eq!(turned("(דה) 12 גבא").as_deref(), Some("אבג 12 (הד)"));
        assert_eq!(turned("one גבא two").as_deref(), Some("one אבג two"));
    }
}
