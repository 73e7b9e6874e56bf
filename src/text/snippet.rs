//! A text and a question in, the part of the text out that a person wants to see. Pure.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

/// Characters of a snippet, at most.
const CHARACTERS: usize = 200;

/// Of a long text, so many characters are looked at.
const LOOKED_AT: usize = 64 << 10;

/// So many of them stand before the first word that was asked for.
const LEAD: usize = 20;

/// Of a clean text, the part with the most different words of the question, each weighed by its length, since short ones
/// are everywhere; its start where it has none, as may well be where vectors have found it.
pub fn snippet(text: &str, question: &str) -> String {
    let end = text.char_indices().nth(LOOKED_AT).map_or(text.len(), |(end, _)| end);
    let text = &text[..end];
    let wanted: HashMap<String, usize> = words(question).map(|(_, word)| word).zip(0..).collect();
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let found = words(text).filter_map(|(byte, word)| {
        let first = starts.partition_point(|&start| start < byte);
        Some(Word { first, end: first + word.chars().count(), number: *wanted.get(&word)? })
    });
    cut(text, &starts, best(&found.collect::<Vec<_>>()))
}

/// A word that was asked for, in characters.
struct Word {
    first: usize,
    end: usize,
    number: usize,
}

/// The character with which the best part begins.
fn best(words: &[Word]) -> usize {
    let mut inside: HashMap<usize, usize> = HashMap::new();
    let (mut weight, mut end) = (0, 0);
    let mut best = (0, 0);
    for (at, first) in words.iter().enumerate() {
        while let Some(next) = words.get(end).filter(|next| next.end <= first.first + CHARACTERS - LEAD) {
            let times = inside.entry(next.number).or_default();
            weight += if *times == 0 { next.end - next.first } else { 0 };
            *times += 1;
            end += 1;
        }
        if end == at {
            // It is longer than a snippet.
            end += 1;
            continue;
        }
        if weight > best.0 {
            best = (weight, first.first);
        }
        let times = inside.entry(first.number).or_default();
        *times -= 1;
        weight -= if *times == 0 { first.end - first.first } else { 0 };
    }
    best.1
}

/// The part around a character, from a word's start.
fn cut(text: &str, starts: &[usize], first: usize) -> String {
    let begin = first.saturating_sub(LEAD).min(starts.len().saturating_sub(CHARACTERS));
    let end = (begin + CHARACTERS).min(starts.len());
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

/// The words of a text in small letters, and where they begin, in bytes; in scripts without spaces between words, each
/// character is one.
fn words(text: &str) -> impl Iterator<Item = (usize, String)> {
    static WORD: LazyLock<Regex> = LazyLock::new(|| {
        let alone = r"\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}";
        let word = format!(r"[{alone}]|[\p{{L}}\p{{M}}\p{{N}}--[{alone}]]+");
        Regex::new(&word).unwrap_or_else(|e| panic!("{e}"))
    });
    WORD.find_iter(text).map(|word| (word.start(), word.as_str().to_lowercase()))
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

    proptest! {
        #[test]
        fn it_is_a_part_of_the_text(text in "([a-z]{1,9}|[今天好。é👍🏽 ]){0,300}", question in "([a-z]{1,3}|[今天]| ){0,9}") {
            let found = snippet(&text, &question);
            prop_assert!(text.contains(found.trim_start_matches('…').trim_end_matches('…')));
            prop_assert!(found.chars().count() <= CHARACTERS + 2);
        }
    }
}
