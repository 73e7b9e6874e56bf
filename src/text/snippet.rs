//! Chooses the part of a text to show for a question. Pure.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// The longest snippet, in characters, not counting the `…` at its ends.
const CHARACTERS_MAX: usize = 200;

/// Only this many characters at the start of a text are searched for words of the question.
const SEARCHED_MAX: usize = 64 << 10;

/// The number of characters that a snippet shows before the first word of the question.
const LEAD: usize = 20;

/// Returns the part of a clean text that has the most words of the question. A word that occurs several times is counted
/// once. Long words have more weight, because short words occur everywhere. If the text has no word of the question, returns
/// the start of the text: a search by vectors also finds such texts.
pub fn snippet(text: &str, question: &str) -> String {
    let end = text.char_indices().nth(SEARCHED_MAX).map_or(text.len(), |(end, _)| end);
    let text = &text[..end];
    let wanted: HashMap<String, usize> = words(question).map(|(_, word)| word).zip(0..).collect();
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let found = words(text).filter_map(|(bytes, word)| {
        let number = *wanted.get(&word)?;
        let first = starts.partition_point(|&start| start < bytes.start);
        Some(FoundWord { first, end: first + text[bytes].chars().count(), number })
    });
    part(text, &starts, best_start(&found.collect::<Vec<_>>()))
}

/// Finds the words of a question in a text, and returns their byte ranges. Adjacent words, with no character between them,
/// share one range.
pub fn question_words(text: &str, question: &str) -> Vec<Range<usize>> {
    let wanted: HashSet<String> = words(question).map(|(_, word)| word).collect();
    let mut found: Vec<Range<usize>> = Vec::new();
    for (bytes, _) in words(text).filter(|(_, word)| wanted.contains(word)) {
        match found.last_mut() {
            Some(last) if last.end == bytes.start => last.end = bytes.end,
            _ => found.push(bytes),
        }
    }
    found
}

/// A place in the text where a word of the question occurs.
struct FoundWord {
    /// The index of the first character of the word, counted in characters from the start of the text.
    first: usize,
    /// The index of the first character after the word.
    end: usize,
    /// The index of the word in the question, counted from 0.
    number: usize,
}

/// Finds the part of the text with the most weight, and returns the index of the first character of the first found word in
/// this part. The weight of a part is the total length of the question's words in the part. A word that occurs several times
/// adds to the weight only once.
fn best_start(words: &[FoundWord]) -> usize {
    let mut inside: HashMap<usize, usize> = HashMap::new();
    let (mut weight, mut end) = (0, 0);
    let (mut best_weight, mut best_first) = (0, 0);
    for (at, first) in words.iter().enumerate() {
        while let Some(next) = words.get(end).filter(|next| next.end <= first.first + CHARACTERS_MAX - LEAD) {
            let times = inside.entry(next.number).or_default();
            weight += if *times == 0 { next.end - next.first } else { 0 };
            *times += 1;
            end += 1;
        }
        if end == at {
            // The word at `at` is longer than a snippet.
            end += 1;
            continue;
        }
        if weight > best_weight {
            (best_weight, best_first) = (weight, first.first);
        }
        let times = inside.entry(first.number).or_default();
        *times -= 1;
        weight -= if *times == 0 { first.end - first.first } else { 0 };
    }
    best_first
}

/// Returns the snippet that contains the character with the index `first`. The snippet begins at the start of a word if a
/// space is near, and `…` marks text that is left out. `starts` has the byte offset of each character of the text.
fn part(text: &str, starts: &[usize], first: usize) -> String {
    let begin = first.saturating_sub(LEAD).min(starts.len().saturating_sub(CHARACTERS_MAX));
    let end = (begin + CHARACTERS_MAX).min(starts.len());
    let byte = |character: usize| starts.get(character).copied().unwrap_or(text.len());
    let mut part = &text[byte(begin)..byte(end)];
    if begin > 0
        && let Some((space, _)) = part.char_indices().take(LEAD).find(|(_, c)| *c == ' ')
    {
        part = &part[space + 1..];
    }
    let before = if begin > 0 { "…" } else { "" };
    let after = if end < starts.len() { "…" } else { "" };
    format!("{before}{part}{after}")
}

/// Returns the words of a text: the byte range of each word, and the word in lower case. In scripts without spaces between
/// words, each character is a word.
fn words(text: &str) -> impl Iterator<Item = (Range<usize>, String)> {
    static WORD: LazyLock<Regex> = LazyLock::new(|| {
        let alone = r"\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}";
        let word = format!(r"[{alone}]|[\p{{L}}\p{{M}}\p{{N}}--[{alone}]]+");
        Regex::new(&word).unwrap_or_else(|e| panic!("{e}"))
    });
    WORD.find_iter(text).map(|word| (word.range(), word.as_str().to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_asked_for_is_in_it() {
        let filler = "All work and no play makes a dull day. ".repeat(30);
        let text = format!("{filler}The battery of the display lasts a year. {filler}");
        let found = snippet(&text, "How long does the Battery of the display last?");
        assert!(found.contains("The battery of the display lasts a year."), "{found}");
        assert!(found.starts_with('…') && found.ends_with('…'), "{found}");
        let text =
            format!("{}显示屏的电池可以用一年。{}", "今天天气很好。".repeat(60), "今天天气很好。".repeat(60));
        let found = snippet(&text, "电池能用多久？");
        assert!(found.contains("电池可以用一年"), "{found}");
    }

    #[test]
    fn a_short_text_is_its_own_snippet() {
        assert_eq!(snippet("a short text", "text"), "a short text");
        assert_eq!(snippet("", "text"), "");
    }

    #[test]
    fn words_of_the_question_are_found_whatever_their_case() {
        let found = |text: &str, question: &str| -> Vec<String> {
            question_words(text, question).into_iter().map(|bytes| text[bytes].to_owned()).collect()
        };
        assert_eq!(found("The Battery lasts; batteries do.", "battery of the year"), ["The", "Battery"]);
        assert_eq!(found("显示屏的电池可以用一年。", "电池能用多久？"), ["电池", "用"]);
        assert!(found("nothing", "else").is_empty());
    }

    proptest! {
        #[test]
        fn it_is_a_part_of_the_text(text in "([a-z]{1,9}|[今天好。é👍🏽 ]){0,300}", question in "([a-z]{1,3}|[今天]| ){0,9}") {
            let found = snippet(&text, &question);
            prop_assert!(text.contains(found.trim_start_matches('…').trim_end_matches('…')));
            prop_assert!(question_words(&text, &question).iter().all(|bytes| text.get(bytes.clone()).is_some()));
            prop_assert!(found.chars().count() <= CHARACTERS_MAX + 2);
        }
    }
}
