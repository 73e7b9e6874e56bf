//! The ids of a text from those of its words, which are remembered (the only user of regex).
//!
//! A word is what Qwen's `tokenizer.json` encodes by itself: mostly a run of letters and the space before it. Finding
//! words again is several times faster than encoding them. What a new one is encoded to is for `tokenizers` to say.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::{Regex, RegexSet};
use thread_local::ThreadLocal;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};
use unicode_normalization::{IsNormalized, is_nfc_quick};

use crate::error::DocumentError;

/// What cuts a text into words, as it stands in Qwen's `tokenizer.json`.
const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The alternative that looks ahead, which linear engines do not: [`Known::next`] makes up for it.
const LOOKS_AHEAD: &str = r"\s+(?!\S)|";

/// Longer words are seldom seen twice.
const WORD_BYTES_MAX: usize = 48;

/// Words that a thread remembers, of about 100 bytes each.
const WORDS_MAX: usize = 1 << 14;

/// What is known of a tokenizer of Qwen's kind.
pub struct Words {
    /// The first one of a text.
    word: Regex,
    /// Tokens that are looked for in the whole text, before it is cut into words.
    added: RegexSet,
    before: Vec<u32>,
    after: Vec<u32>,
    threads: ThreadLocal<RefCell<Known>>,
}

/// What a thread has for itself, so that none waits for another.
struct Known {
    word: Regex,
    ids: HashMap<Box<str>, Box<[u32]>>,
}

impl Words {
    /// `None` where the tokenizer is of another kind.
    pub fn new(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        let added = tokenizer.get_added_vocabulary().get_vocab().keys();
        if !cuts_as_qwen(tokenizer) || !added.clone().all(|token| is_composed(token)) {
            return None;
        }
        let (before, after) = around(tokenizer)?;
        Some(Words {
            word: Regex::new(&format!(r"\A(?:{})", PATTERN.replace(LOOKS_AHEAD, ""))).ok()?,
            added: RegexSet::new(added.map(|token| regex::escape(token))).ok()?,
            before,
            after,
            threads: ThreadLocal::new(),
        })
    }

    /// Whether the text is that of its words alone: nothing is to be composed in it, and no added token to be found.
    pub fn is_for(&self, text: &str) -> bool {
        is_composed(text) && !self.added.is_match(text)
    }

    /// With what the tokenizer puts around a text.
    pub fn encode(&self, text: &str, tokenizer: &tokenizers::Tokenizer) -> Result<Vec<u32>, DocumentError> {
        let mut ids = self.before.clone();
        self.each(text, tokenizer, |word| ids.extend_from_slice(word))?;
        ids.extend_from_slice(&self.after);
        Ok(ids)
    }

    /// Tokens of the text alone.
    pub fn count(&self, text: &str, tokenizer: &tokenizers::Tokenizer) -> Result<usize, DocumentError> {
        let mut count = 0;
        self.each(text, tokenizer, |word| count += word.len())?;
        Ok(count)
    }

    fn each(
        &self,
        mut text: &str,
        tokenizer: &tokenizers::Tokenizer,
        mut take: impl FnMut(&[u32]),
    ) -> Result<(), DocumentError> {
        let new = || RefCell::new(Known { word: self.word.clone(), ids: HashMap::new() });
        let known = &mut *self.threads.get_or(new).borrow_mut();
        while !text.is_empty() {
            let (word, behind) = text.split_at(known.next(text));
            text = behind;
            if let Some(ids) = known.ids.get(word) {
                take(ids);
                continue;
            }
            let ids = encode(tokenizer, word, false)?;
            take(&ids);
            known.remember(word, ids);
        }
        Ok(())
    }
}

impl Known {
    /// Where the first word ends. Of white space before a word, that word has the last character.
    fn next(&self, text: &str) -> usize {
        let end = self.word.find(text).map_or(text.len(), |found| found.end());
        let (word, behind) = text.split_at(end);
        match word.char_indices().next_back() {
            Some((at, last)) if at > 0 && is_space(last) && !behind.is_empty() => at,
            _ => end,
        }
    }

    fn remember(&mut self, word: &str, ids: Vec<u32>) {
        if word.len() > WORD_BYTES_MAX {
            return;
        }
        if self.ids.len() == WORDS_MAX {
            self.ids.clear();
        }
        self.ids.insert(word.into(), ids.into());
    }
}

/// White space at the end of a word, but for the line ends that it may have.
fn is_space(c: char) -> bool {
    c.is_whitespace() && !matches!(c, '\r' | '\n')
}

/// Whether NFC leaves the text as it is, as far as can be seen at once.
fn is_composed(text: &str) -> bool {
    text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes
}

fn cuts_as_qwen(tokenizer: &tokenizers::Tokenizer) -> bool {
    let Some(PreTokenizerWrapper::Sequence(steps)) = tokenizer.get_pre_tokenizer() else { return false };
    let [PreTokenizerWrapper::Split(split), PreTokenizerWrapper::ByteLevel(bytes)] = steps.as_ref() else {
        return false;
    };
    matches!(tokenizer.get_normalizer(), None | Some(NormalizerWrapper::NFC(_)))
        && matches!(&split.pattern, SplitPattern::Regex(pattern) if pattern == PATTERN)
        && matches!(split.behavior, SplitDelimiterBehavior::Isolated)
        && !split.invert
        && !bytes.add_prefix_space
        && !bytes.use_regex
        // With dropout, a word has other ids each time.
        && matches!(tokenizer.get_model(), ModelWrapper::BPE(bpe) if bpe.dropout.is_none())
}

/// What the tokenizer puts before and after a text. `None` where it does anything else to it.
fn around(tokenizer: &tokenizers::Tokenizer) -> Option<(Vec<u32>, Vec<u32>)> {
    let encode = |text, special| encode(tokenizer, text, special).ok();
    let (empty, inner, whole) = (encode("", true)?, encode("a", false)?, encode("a", true)?);
    let mut places = (0..=empty.len()).filter(|&at| [&empty[..at], &inner, &empty[at..]].concat() == whole);
    let (place, other) = (places.next()?, places.next());
    other.is_none().then(|| (empty[..place].to_vec(), empty[place..].to_vec()))
}

pub fn encode(
    tokenizer: &tokenizers::Tokenizer,
    text: &str,
    special: bool,
) -> Result<Vec<u32>, DocumentError> {
    let encoding =
        tokenizer.encode_fast(text, special).map_err(|e| DocumentError::Tokenizer(e.to_string()))?;
    Ok(encoding.get_ids().to_vec())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
    }

    fn load(model: &str) -> tokenizers::Tokenizer {
        tokenizers::Tokenizer::from_file(fixture(model).join("tokenizer.json")).unwrap()
    }

    static TOKENIZER: LazyLock<tokenizers::Tokenizer> = LazyLock::new(|| load("qwen3-tiny"));
    static WORDS: LazyLock<Words> = LazyLock::new(|| Words::new(&TOKENIZER).unwrap());

    /// Whether the text is one of words; if so, its ids are those that `tokenizers` gives it.
    fn check(text: &str) -> bool {
        let is_for = WORDS.is_for(text);
        if is_for {
            let whole = TOKENIZER.encode_fast(text, true).unwrap();
            assert_eq!(WORDS.encode(text, &TOKENIZER).unwrap(), whole.get_ids(), "{text:?}");
            let inner = TOKENIZER.encode_fast(text, false).unwrap();
            assert_eq!(WORDS.count(text, &TOKENIZER).unwrap(), inner.len(), "{text:?}");
        }
        is_for
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]
        #[test]
        fn any_text_has_the_ids_that_tokenizers_gives_it(
            text in "([a-zA-Z]{1,8}|'(s|T|re|LL|\u{17F})|[0-9]{1,3}|[ \t\r\n]{1,4}|[!-/]{1,3}|[\u{A0}\u{2028}\u{3000}\u{85}]|[今天。]|[\\PC]|(?s:.)|<\\|endoftext\\||e\u{301}){0,40}",
        ) {
            check(&text);
        }
    }

    #[test]
    fn documents_have_the_ids_that_tokenizers_gives_them() {
        let files = walkdir::WalkDir::new(fixture("corpus")).into_iter().map(Result::unwrap);
        let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
        let checked = texts.filter(|text| check(text) && check(&crate::text::clean::clean(text))).count();
        assert!(checked > 20, "{checked}");
    }

    #[test]
    fn more_words_than_are_remembered_have_their_ids() {
        let word = |n: usize| format!(" {n:b}").replace('0', "a").replace('1', "b");
        let text: String = (0..2 * WORDS_MAX).map(word).collect();
        assert!(check(&text) && check(&text));
    }

    #[test]
    fn what_is_looked_for_in_the_whole_text_is_not_for_words() {
        assert!(WORDS.is_for("a b <|endoftext| \u{E9}"));
        assert!(!WORDS.is_for("a <|endoftext|> b"));
        assert!(!WORDS.is_for("e\u{301}"));
    }

    #[test]
    fn other_kinds_have_no_words() {
        let bert = load("bert-tiny");
        assert!(Words::new(&bert).is_none());
        let (start, end) = (bert.token_to_id("[CLS]").unwrap(), bert.token_to_id("[SEP]").unwrap());
        assert_eq!(around(&bert), Some((vec![start], vec![end])));
        let has_words = |change: fn(&mut tokenizers::Tokenizer)| {
            let mut tokenizer = TOKENIZER.clone();
            change(&mut tokenizer);
            Words::new(&tokenizer).is_some()
        };
        assert!(has_words(|_| {}));
        assert!(!has_words(|tokenizer| _ = tokenizer.with_pre_tokenizer(None::<PreTokenizerWrapper>)));
        assert!(!has_words(|tokenizer| _ = tokenizer.with_normalizer(Some(tokenizers::normalizers::NFKC))));
        assert!(!has_words(|tokenizer| {
            let ModelWrapper::BPE(mut bpe) = tokenizer.get_model().clone() else { unreachable!() };
            bpe.dropout = Some(0.5);
            tokenizer.with_model(bpe);
        }));
    }
}
