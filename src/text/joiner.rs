//! Decides which zero-width joiners and non-joiners are spelling. Pure. Only this module uses icu_properties.
//!
//! The contexts are A1, A2 and B of UAX #31, section 2.3, and the emoji ZWJ sequences of UTS #51 (ED-16).

use icu_properties::props::{
    CanonicalCombiningClass, EmojiModifier, ExtendedPictographic, GeneralCategory, GeneralCategoryGroup,
    IndicSyllabicCategory, JoiningType,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Breaks a cursive connection or a conjunct.
pub const NON_JOINER: char = '\u{200C}';
/// Makes one sign of two emojis, or chooses a form in a conjunct.
pub const JOINER: char = '\u{200D}';

/// The emoji presentation selector.
const EMOJI_STYLE: char = '\u{FE0F}';

/// Returns whether a joiner or non-joiner changes the word that it stands in. `before` has the characters before it, the nearest
/// first, and `after` the characters after it. Both end early if the context is longer than the caller looks.
pub fn is_spelling(
    joiner: char,
    before: impl Iterator<Item = char> + Clone,
    after: impl Iterator<Item = char> + Clone,
) -> bool {
    let next_after_marks = after.clone().find(|&c| !is_reordered_mark(c));
    match joiner {
        NON_JOINER => {
            (joins_forwards(before.clone()) && joins_backwards(after))
                || (follows_virama(before) && next_after_marks.is_some_and(is_letter))
        }
        JOINER => {
            (follows_emoji(before.clone()) && after.clone().next().is_some_and(is_emoji))
                || (follows_virama(before) && next_after_marks.is_some_and(|c| !is_dependent_vowel(c)))
        }
        _ => false,
    }
}

/// Returns whether the nearest character that is not transparent joins to the next one (the left side of context A1).
fn joins_forwards(mut before: impl Iterator<Item = char>) -> bool {
    let nearest = before.find_map(joining);
    matches!(nearest, Some(JoiningType::LeftJoining | JoiningType::DualJoining))
}

/// Returns whether the next character that is not transparent joins to the one before (the right side of context A1).
fn joins_backwards(mut after: impl Iterator<Item = char>) -> bool {
    let next = after.find_map(joining);
    matches!(next, Some(JoiningType::RightJoining | JoiningType::DualJoining))
}

/// Returns how a character joins; `None` if it is transparent.
fn joining(c: char) -> Option<JoiningType> {
    Some(CodePointMapData::<JoiningType>::new().get(c)).filter(|&joining| joining != JoiningType::Transparent)
}

/// Returns whether a text ends with a letter and a virama, and with marks after each of them (the left side of contexts A2
/// and B).
fn follows_virama(mut before: impl Iterator<Item = char>) -> bool {
    before.find(|&c| is_virama(c) || !is_reordered_mark(c)).is_some_and(is_virama)
        && before.find(|&c| category(c) != GeneralCategory::NonspacingMark).is_some_and(is_letter)
}

/// Returns whether a text ends with an emoji, and with its style and skin tone.
fn follows_emoji(mut before: impl Iterator<Item = char>) -> bool {
    let modifies = |c: char| c == EMOJI_STYLE || CodePointSetData::new::<EmojiModifier>().contains(c);
    before.find(|&c| !modifies(c)).is_some_and(is_emoji)
}

fn is_emoji(c: char) -> bool {
    CodePointSetData::new::<ExtendedPictographic>().contains(c)
}

fn is_letter(c: char) -> bool {
    GeneralCategoryGroup::Letter.contains(category(c))
}

fn is_virama(c: char) -> bool {
    combining_class(c) == CanonicalCombiningClass::Virama
}

/// Returns whether a character is a nonspacing mark with a canonical combining class other than 0.
fn is_reordered_mark(c: char) -> bool {
    category(c) == GeneralCategory::NonspacingMark
        && combining_class(c) != CanonicalCombiningClass::NotReordered
}

fn is_dependent_vowel(c: char) -> bool {
    CodePointMapData::<IndicSyllabicCategory>::new().get(c) == IndicSyllabicCategory::VowelDependent
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

fn combining_class(c: char) -> CanonicalCombiningClass {
    CodePointMapData::<CanonicalCombiningClass>::new().get(c)
}
