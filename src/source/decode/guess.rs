//! Finds the single-byte encoding that a text is in, by its letters.
//!
//! Each candidate gives each word other letters. The costs of the letters in a language say how probable the words are: the right
//! candidate has a language in which they are cheap. Case and signs count too: `Журналистыџ` has a capital within a word, `t¢ner`
//! a sign. Costs are whole numbers, so that every machine finds the same encoding.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::charset::Charset;
use super::language::{Language, Script};
use super::letters::LANGUAGES;

/// What is known about the encoding of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    Found(Charset),
    /// Two encodings give different texts, and both are probable.
    Ambiguous(Charset, Charset),
    /// In no encoding are the letters those of a language.
    Unknown,
}

/// The candidates: the label, the scripts and how much rarer than windows-1252 the encoding is, as a cost.
const CANDIDATES: [(&str, &[Script], usize); 51] = {
    use Script::{Arabic, Cyrillic, Greek, Hebrew, Latin, Thai, Vietnamese};
    [
        ("windows-1250", &[Latin], 100),
        ("windows-1251", &[Cyrillic], 100),
        ("windows-1252", &[Latin], 0),
        ("windows-1253", &[Greek], 150),
        ("windows-1254", &[Latin], 150),
        ("windows-1255", &[Hebrew], 150),
        ("windows-1256", &[Arabic], 150),
        ("windows-1257", &[Latin], 200),
        ("windows-1258", &[Vietnamese], 200),
        ("windows-874", &[Thai], 150),
        ("ISO-8859-2", &[Latin], 150),
        ("ISO-8859-3", &[Latin], 400),
        ("ISO-8859-4", &[Latin], 300),
        ("ISO-8859-5", &[Cyrillic], 200),
        ("ISO-8859-6", &[Arabic], 250),
        ("ISO-8859-7", &[Greek], 200),
        ("ISO-8859-8", &[Hebrew], 250),
        ("ISO-8859-10", &[Latin], 500),
        ("ISO-8859-13", &[Latin], 300),
        ("ISO-8859-14", &[Latin], 500),
        ("ISO-8859-15", &[Latin], 150),
        ("ISO-8859-16", &[Latin], 500),
        ("KOI8-U", &[Cyrillic], 100),
        ("IBM866", &[Cyrillic], 200),
        ("macintosh", &[Latin], 500),
        ("x-mac-cyrillic", &[Cyrillic], 300),
        ("IBM437", &[Latin], 600),
        ("IBM737", &[Greek], 500),
        ("IBM775", &[Latin], 600),
        ("IBM850", &[Latin], 500),
        ("IBM852", &[Latin], 500),
        ("IBM855", &[Cyrillic], 400),
        ("IBM857", &[Latin], 600),
        ("IBM862", &[Hebrew], 500),
        ("IBM869", &[Greek], 600),
        ("x-mac-ce", &[Latin], 600),
        ("x-mac-greek", &[Greek], 600),
        ("KZ-1048", &[Cyrillic], 500),
        ("PTCP154", &[Cyrillic], 600),
        ("KOI8-T", &[Cyrillic], 700),
        ("cp1125", &[Cyrillic], 600),
        ("IBM720", &[Arabic], 700),
        ("IBM860", &[Latin], 700),
        ("IBM861", &[Latin], 700),
        ("IBM863", &[Latin], 700),
        ("IBM865", &[Latin], 700),
        ("hp-roman8", &[Latin], 800),
        ("x-mac-croatian", &[Latin], 800),
        ("x-mac-icelandic", &[Latin], 800),
        ("x-mac-romanian", &[Latin], 800),
        ("x-mac-turkish", &[Latin], 800),
    ]
};

/// The cost of a letter that the language does not have.
const FOREIGN: usize = 1100;

/// The languages that are rarer than the others, and how much, as a cost.
const RARE: [&str; 11] = ["als", "azj", "cym", "epo", "eus", "gle", "kaz", "khk", "mlt", "tat", "tgk"];
const RARE_COST: usize = 300;

/// Number of bytes of words that are compared.
const EVIDENCE_BYTES: usize = 16 << 10;

/// The best candidate must be this much cheaper than the best one that gives another text. The odds are then 7 to 1.
const MARGIN: usize = 200;

/// The mean cost of a character is about 320 in a text's own language and encoding, and at most 375 in 2,000 texts of more than
/// 80 characters in such words. It is more than 590 if a text in Chinese, Japanese or Korean is taken for a text in letters.
const MEAN_MAX: usize = 400;

/// A mean of few characters varies more: it may exceed [`MEAN_MAX`] by this, divided by the square root of their number.
const MEAN_SPREAD: usize = 400;

/// The kind of a character within a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The border of a word: an ASCII character that is no letter.
    Border,
    Capital,
    /// A small letter, a letter without case, or a mark on a letter.
    Letter,
    /// A sign that stands in front of a word, such as an opening quote.
    Opening,
    /// A sign that stands behind a word.
    Closing,
    /// A sign that stands between words, such as a dash or a degree sign.
    Between,
    Apostrophe,
    /// A character that tables are drawn with.
    Drawing,
    /// A sign that is rare in every text.
    Rare,
    /// A control character, or no character.
    Forbidden,
}

impl Class {
    fn of(c: Option<char>) -> Class {
        let Some(c) = c else { return Class::Forbidden };
        match c {
            '\u{80}'..='\u{9F}' => Class::Forbidden,
            '’' => Class::Apostrophe,
            '“' | '„' | '‘' | '«' | '¿' | '¡' | '£' | '€' | '©' | '§' | '•' => Class::Opening,
            '”' | '»' | '…' | '®' | '™' | 'º' | 'ª' => Class::Closing,
            '–' | '—' | '\u{A0}' | '·' | '°' | 'µ' => Class::Between,
            '\u{2500}'..='\u{259F}' => Class::Drawing,
            _ if c.is_uppercase() => Class::Capital,
            _ if c.is_alphabetic() || is_mark(c) => Class::Letter,
            _ if c.is_ascii() => Class::Border,
            _ => Class::Rare,
        }
    }

    fn is_letter(self) -> bool {
        matches!(self, Class::Capital | Class::Letter)
    }

    /// Returns how improbable a character is because of its class and the class of the character before it.
    fn cost_after(self, before: Class) -> usize {
        let is_inside = before.is_letter();
        match self {
            Class::Border | Class::Forbidden => 0,
            Class::Capital => match before {
                Class::Letter => 600,
                Class::Capital => 50,
                _ => 150 + Class::Letter.cost_after(before),
            },
            Class::Letter => match before {
                Class::Closing | Class::Rare => 500,
                Class::Drawing => 600,
                _ => 0,
            },
            Class::Opening => 400 + if is_inside { 1000 } else { 0 },
            Class::Closing => 400,
            Class::Apostrophe => 400 + if is_inside { 0 } else { 300 },
            Class::Between => 400 + if is_inside { 200 } else { 0 },
            Class::Drawing => match before {
                Class::Drawing => 300,
                _ => 700 + if is_inside { 500 } else { 0 },
            },
            Class::Rare => 800 + if is_inside { 800 } else { 0 },
        }
    }
}

/// Returns whether a character stands on a letter, in Vietnamese, Hebrew, Arabic or Thai.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}' | '\u{5B0}'..='\u{5C7}' | '\u{64B}'..='\u{652}' | '\u{E31}'..='\u{E4E}')
}

/// An encoding with the costs of its bytes.
struct Candidate {
    charset: Charset,
    cost: usize,
    characters: [Option<char>; 256],
    classes: [Class; 256],
    languages: Vec<Costs>,
}

/// The costs of all bytes in a language.
struct Costs {
    language: &'static Language,
    bytes: [usize; 256],
}

static ALL: LazyLock<Vec<Candidate>> = LazyLock::new(|| {
    let charset = |label: &str| Charset::for_label(label.as_bytes());
    CANDIDATES
        .iter()
        .filter_map(|&(label, scripts, cost)| Some(Candidate::new(charset(label)?, scripts, cost)))
        .collect()
});

impl Candidate {
    fn new(charset: Charset, scripts: &[Script], cost: usize) -> Candidate {
        let mut characters = [None; 256];
        for (byte, slot) in (0..=255).zip(&mut characters) {
            *slot = charset.decode(&[byte]).and_then(|text| text.chars().next());
        }
        let languages = LANGUAGES.iter().filter(|language| scripts.contains(&language.script));
        let languages = languages.map(|language| Costs::new(language, &characters)).collect();
        Candidate { charset, cost, characters, classes: characters.map(Class::of), languages }
    }

    /// Returns how probable the candidate is; `None` if the encoding does not have one of the bytes.
    fn score(&self, words: &Words) -> Option<Score<'_>> {
        let class = |byte: u8| self.classes[usize::from(byte)];
        if words.bytes().any(|byte| class(byte) == Class::Forbidden) {
            return None;
        }
        let of_classes: usize = words.with_others.iter().map(|word| self.cost_of_classes(word)).sum();
        let count = |is_it: fn(Class) -> bool| {
            let counts = words.counts.iter().zip(self.classes);
            counts.filter(|(_, class)| is_it(*class)).map(|(count, _)| count).sum::<usize>()
        };
        let (letters, characters) = (count(Class::is_letter), count(|_| true));
        let of_languages = self.languages.iter().map(|costs| {
            let of_letters: usize =
                words.counts.iter().zip(costs.bytes).map(|(count, cost)| count * cost).sum();
            (of_letters + costs.of_plain_words(words, letters) + costs.of_rarity(), of_letters)
        });
        let (of_language, of_letters) = of_languages.min()?;
        Some(Score {
            candidate: self,
            cost: self.cost + of_classes + of_language,
            mean: (of_classes + of_letters) / characters.max(1),
            characters,
        })
    }

    fn cost_of_classes(&self, word: &[u8]) -> usize {
        let mut before = (0, Class::Border);
        let mut cost = 0;
        for &byte in word {
            let class = self.classes[usize::from(byte)];
            // What is the same in all encodings does not count, except for a capital within a word.
            let is_same = byte.is_ascii() && u8::is_ascii(&before.0);
            if !is_same || class == Class::Capital && before.1 == Class::Letter {
                cost += class.cost_after(before.1);
            }
            before = (byte, class);
        }
        cost
    }

    fn gives_the_same_text(&self, other: &Candidate, words: &Words) -> bool {
        words.bytes().all(|byte| self.characters[usize::from(byte)] == other.characters[usize::from(byte)])
    }
}

impl Costs {
    fn new(language: &'static Language, characters: &[Option<char>; 256]) -> Costs {
        let cost = |c: char| {
            let small = c.to_lowercase().next().unwrap_or(c);
            let known = language.letters.iter().find(|(letter, _)| *letter == small);
            known.map_or(FOREIGN, |&(_, cost)| cost)
        };
        let cost = |c: Option<char>| if Class::of(c).is_letter() { c.map_or(0, cost) } else { 0 };
        Costs { language, bytes: characters.map(cost) }
    }

    fn of_rarity(&self) -> usize {
        if RARE.contains(&self.language.code) { RARE_COST } else { 0 }
    }

    /// Returns how much worse the words of ASCII letters fit this language than they fit the best language. In a text of many such
    /// words, words of another alphabet are improbable.
    fn of_plain_words(&self, words: &Words, letters: usize) -> usize {
        if !has_latin_letters(self.language) {
            return (1 + words.plain_total / letters.max(1)).ilog2() as usize * 69;
        }
        words.plain_cost(self.language) - words.plain_cost_min
    }
}

/// A candidate and how probable it is.
struct Score<'a> {
    candidate: &'a Candidate,
    cost: usize,
    /// The mean cost of a character of the words in the best language.
    mean: usize,
    characters: usize,
}

impl Score<'_> {
    fn is_a_language(&self) -> bool {
        self.mean <= MEAN_MAX + MEAN_SPREAD / self.characters.isqrt().max(1)
    }
}

/// The words of a text.
struct Words<'a> {
    /// Each word that has other bytes than ASCII, once.
    with_others: HashSet<&'a [u8]>,
    /// How often each byte occurs in these words.
    counts: [usize; 256],
    /// Whether each byte occurs in the text.
    used: [bool; 256],
    /// How often each ASCII letter occurs in other words, outside of HTML tags.
    plain: [usize; 26],
    plain_total: usize,
    /// The weight of these letters: this many count as one.
    plain_per_unit: usize,
    plain_cost_min: usize,
}

impl<'a> Words<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let mut words = Words {
            with_others: HashSet::new(),
            counts: [0; 256],
            used: [false; 256],
            plain: [0; 26],
            plain_total: 0,
            plain_per_unit: 1,
            plain_cost_min: 0,
        };
        bytes.iter().for_each(|&byte| words.used[usize::from(byte)] = true);
        let is_in_word = |byte: &u8| byte.is_ascii_alphabetic() || !byte.is_ascii();
        let mut evidence = 0;
        let mut is_in_tag = false;
        for run in bytes.chunk_by(|a, b| is_in_word(a) == is_in_word(b)) {
            if !run.first().is_some_and(is_in_word) {
                match run.iter().rfind(|byte| b"<>".contains(byte)) {
                    Some(b'<') => is_in_tag = run.ends_with(b"<") || run.ends_with(b"</"),
                    Some(_) => is_in_tag = false,
                    None => {}
                }
            } else if !run.is_ascii() {
                let run = &run[..run.len().min(EVIDENCE_BYTES - evidence)];
                if words.with_others.insert(run) {
                    evidence += run.len();
                    run.iter().for_each(|&byte| words.counts[usize::from(byte)] += 1);
                }
            } else if !is_in_tag && words.plain_total < 1 << 20 {
                words.plain_total += run.len();
                run.iter().for_each(|byte| words.plain[usize::from(byte.to_ascii_lowercase() - b'a')] += 1);
            }
        }
        // Plain words say which language it is, and count half as much. But there may be thousands of them, or they may be
        // code or in another language, so all together they count at most as much as the words that differ.
        let units = (evidence + 15).min(words.plain_total.div_ceil(2)).max(1);
        words.plain_per_unit = words.plain_total.div_ceil(units).max(1);
        let latin = LANGUAGES.iter().filter(|language| has_latin_letters(language));
        words.plain_cost_min = latin.map(|language| words.plain_cost(language)).min().unwrap_or_default();
        words
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        (0..=255).zip(self.used).filter(|(_, is_used)| *is_used).map(|(byte, _)| byte)
    }

    fn plain_cost(&self, language: &Language) -> usize {
        let mut costs = [FOREIGN; 26];
        for &(letter, cost) in language.letters.iter().filter(|(letter, _)| letter.is_ascii_lowercase()) {
            costs[letter as usize - 'a' as usize] = cost;
        }
        self.plain.iter().zip(costs).map(|(count, cost)| count * cost).sum::<usize>() / self.plain_per_unit
    }
}

fn has_latin_letters(language: &Language) -> bool {
    matches!(language.script, Script::Latin | Script::Vietnamese)
}

/// Returns whether an encoding makes words of a text. Returns `true` for encodings that are not among the candidates.
pub fn fits(bytes: &[u8], charset: Charset) -> bool {
    let Some(candidate) = ALL.iter().find(|candidate| candidate.charset == charset) else { return true };
    candidate.score(&Words::of(bytes)).is_some_and(|score| score.is_a_language())
}

/// Finds the single-byte encoding of a text that has other bytes than ASCII.
pub fn single_byte(bytes: &[u8]) -> Guess {
    let words = Words::of(bytes);
    let mut scores: Vec<Score> = ALL.iter().filter_map(|candidate| candidate.score(&words)).collect();
    scores.sort_by_key(|score| score.cost);
    let Some(best) = scores.first().filter(|best| best.is_a_language()) else { return Guess::Unknown };
    let rival = scores.iter().find(|score| !score.candidate.gives_the_same_text(best.candidate, &words));
    match rival {
        Some(rival) if rival.cost < best.cost + MARGIN => {
            Guess::Ambiguous(best.candidate.charset, rival.candidate.charset)
        }
        _ => Guess::Found(best.candidate.charset),
    }
}
