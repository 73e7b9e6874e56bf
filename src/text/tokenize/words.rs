//! Turns a text into token ids, with a cache of the token ids of words.
//!
//! Qwen's `tokenizer.json` splits a text into words and encodes each word separately. A word is mostly a run of letters and
//! the space before it. Looking up a word is several times faster than encoding it again. The crate `tokenizers` encodes the
//! words that are not in the cache.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::{Regex, RegexSet};
use thread_local::ThreadLocal;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};
use unicode_normalization::{IsNormalized, is_nfc_quick};

use crate::error::DocumentError;

/// The regular expression that splits a text into words, copied from Qwen's `tokenizer.json`.
const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The part of [`PATTERN`] with a lookahead. The crate `regex` does not support lookaheads, so code in
/// [`WordCache::first_word`] does the work of this part.
const LOOKS_AHEAD: &str = r"\s+(?!\S)|";

/// The longest word to cache, in bytes. Longer words rarely occur twice.
const WORD_BYTES_MAX: usize = 48;

/// The most words in the cache of one thread. A word takes about 100 bytes of memory.
const WORDS_MAX: usize = 1 << 14;

/// Encodes texts word by word. Works only for a `tokenizer.json` that splits texts in the same way as Qwen's
/// `tokenizer.json`.
pub struct WordTokenizer {
    /// Matches the first word of a text.
    word: Regex,
    /// Matches added tokens, which the tokenizer looks for before it splits the text into words.
    added: RegexSet,
    /// Ids of the special tokens before a text.
    before: Vec<u32>,
    /// Ids of the special tokens after a text.
    after: Vec<u32>,
    /// One cache per thread, so that no thread waits for another.
    threads: ThreadLocal<RefCell<WordCache>>,
}

struct WordCache {
    /// A clone of [`WordTokenizer::word`]: threads that share one `Regex` wait for each other.
    word: Regex,
    ids: HashMap<Box<str>, Box<[u32]>>,
}

impl WordTokenizer {
    /// Makes a word tokenizer. Returns `None` if the tokenizer splits texts in another way than Qwen's `tokenizer.json`.
    pub fn new(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        let added = tokenizer.get_added_vocabulary().get_vocab().keys();
        if !splits_as_qwen(tokenizer) || !added.clone().all(|token| is_composed(token)) {
            return None;
        }
        let (before, after) = special_ids(tokenizer)?;
        Some(WordTokenizer {
            word: Regex::new(&format!(r"\A(?:{})", PATTERN.replace(LOOKS_AHEAD, ""))).ok()?,
            added: RegexSet::new(added.map(|token| regex::escape(token))).ok()?,
            before,
            after,
            threads: ThreadLocal::new(),
        })
    }

    /// Returns whether the text can be encoded word by word: NFC leaves the text unchanged, and the text has no added token.
    pub fn can_encode(&self, text: &str) -> bool {
        is_composed(text) && !self.added.is_match(text)
    }

    /// Returns the token ids of the text, including the special tokens before and after the text.
    pub fn encode(&self, text: &str, tokenizer: &tokenizers::Tokenizer) -> Result<Vec<u32>, DocumentError> {
        let mut ids = self.before.clone();
        self.for_each_word(text, tokenizer, |word| ids.extend_from_slice(word))?;
        ids.extend_from_slice(&self.after);
        Ok(ids)
    }

    /// Counts the tokens of the text, without special tokens.
    pub fn count(&self, text: &str, tokenizer: &tokenizers::Tokenizer) -> Result<usize, DocumentError> {
        let mut count = 0;
        self.for_each_word(text, tokenizer, |word| count += word.len())?;
        Ok(count)
    }

    /// Calls `take` with the token ids of each word, in the order of the text.
    fn for_each_word(
        &self,
        mut text: &str,
        tokenizer: &tokenizers::Tokenizer,
        mut take: impl FnMut(&[u32]),
    ) -> Result<(), DocumentError> {
        let new = || RefCell::new(WordCache { word: self.word.clone(), ids: HashMap::new() });
        let cache = &mut *self.threads.get_or(new).borrow_mut();
        while !text.is_empty() {
            let (word, rest) = text.split_at(cache.first_word(text));
            text = rest;
            if let Some(ids) = cache.ids.get(word) {
                take(ids);
                continue;
            }
            let ids = encode(tokenizer, word, false)?;
            take(&ids);
            cache.insert(word, ids);
        }
        Ok(())
    }
}

impl WordCache {
    /// Returns the length of the first word, in bytes. The last character of a run of white space belongs to the word after
    /// the run.
    fn first_word(&self, text: &str) -> usize {
        let end = self.word.find(text).map_or(text.len(), |found| found.end());
        let (word, rest) = text.split_at(end);
        match word.char_indices().next_back() {
            Some((at, last)) if at > 0 && is_space(last) && !rest.is_empty() => at,
            _ => end,
        }
    }

    fn insert(&mut self, word: &str, ids: Vec<u32>) {
        if word.len() > WORD_BYTES_MAX {
            return;
        }
        if self.ids.len() == WORDS_MAX {
            self.ids.clear();
        }
        self.ids.insert(word.into(), ids.into());
    }
}

/// Returns `true` for white space, except for line ends: a line end may belong to the word before the line end.
fn is_space(c: char) -> bool {
    c.is_whitespace() && !matches!(c, '\r' | '\n')
}

/// Checks quickly whether NFC leaves the text unchanged. Returns `false` if the quick check cannot decide.
fn is_composed(text: &str) -> bool {
    text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes
}

fn splits_as_qwen(tokenizer: &tokenizers::Tokenizer) -> bool {
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
        // With dropout, the ids of a word differ from call to call.
        && matches!(tokenizer.get_model(), ModelWrapper::BPE(bpe) if bpe.dropout.is_none())
}

/// Encodes a sample text, and returns the ids of the special tokens before and after the text. Returns `None` if the sample
/// does not show clearly which ids these are.
fn special_ids(tokenizer: &tokenizers::Tokenizer) -> Option<(Vec<u32>, Vec<u32>)> {
    let encode = |text, special| encode(tokenizer, text, special).ok();
    let (empty, inner, whole) = (encode("", true)?, encode("a", false)?, encode("a", true)?);
    let mut splits = (0..=empty.len()).filter(|&at| [&empty[..at], &inner, &empty[at..]].concat() == whole);
    let (split, other) = (splits.next()?, splits.next());
    other.is_none().then(|| (empty[..split].to_vec(), empty[split..].to_vec()))
}

/// Encodes a text with the crate `tokenizers`. Adds special tokens if `special` is `true`.
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
    use serde_json::{Value, json};

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
    }

    fn load(model: &str) -> tokenizers::Tokenizer {
        tokenizers::Tokenizer::from_file(fixture(model).join("tokenizer.json")).unwrap()
    }

    static TOKENIZER: LazyLock<tokenizers::Tokenizer> = LazyLock::new(|| load("qwen3-tiny"));
    static WORDS: LazyLock<WordTokenizer> = LazyLock::new(|| WordTokenizer::new(&TOKENIZER).unwrap());

    /// The number of tokens in the vocabulary of Qwen3-Embedding, added tokens included.
    const VOCABULARY: usize = 151_669;

    /// The tokenizer of the tiny model with a vocabulary of the real size: all pairs of the most frequent bytes, and most pairs
    /// with a third byte.
    static LARGE: LazyLock<tokenizers::Tokenizer> = LazyLock::new(|| {
        let tiny = fs::read(fixture("qwen3-tiny").join("tokenizer.json")).unwrap();
        let mut tokenizer: Value = serde_json::from_slice(&tiny).unwrap();
        let added = tokenizer["added_tokens"].as_array().unwrap().len();
        let vocabulary: HashMap<String, u32> =
            serde_json::from_value(tokenizer["model"]["vocab"].take()).unwrap();
        let is_byte = |token: &&String| token.chars().count() == 1;
        let mut tokens: Vec<String> = vocabulary.keys().filter(is_byte).cloned().collect();
        // The most frequent bytes of English come first. A space is written as U+0120.
        let place = |token: &str| "\u{120}etaoinshrdlcum".find(token).unwrap_or(usize::MAX);
        tokens.sort_by_key(|token| (place(token), !token.is_ascii(), token.clone()));
        let bytes = tokens.clone();
        let mut merges = Vec::new();
        for first in &bytes[..100] {
            merges.extend(bytes[..100].iter().map(|second| [first.clone(), second.clone()]));
        }
        let pairs: Vec<String> = merges.iter().map(|[first, second]| format!("{first}{second}")).collect();
        'full: for third in &bytes {
            for pair in &pairs {
                if bytes.len() + merges.len() + added == VOCABULARY {
                    break 'full;
                }
                merges.push([pair.clone(), third.clone()]);
            }
        }
        tokens.extend(merges.iter().map(|halves| halves.concat()));
        let ids: HashMap<&String, usize> = tokens.iter().enumerate().map(|(id, token)| (token, id)).collect();
        assert_eq!(ids.len() + added, VOCABULARY);
        tokenizer["model"]["vocab"] = json!(ids);
        tokenizer["model"]["merges"] = json!(merges);
        for (at, token) in tokenizer["added_tokens"].as_array_mut().unwrap().iter_mut().enumerate() {
            token["id"] = json!(ids.len() + at);
        }
        let special = &mut tokenizer["post_processor"]["processors"][1]["special_tokens"]["<|endoftext|>"];
        special["ids"] = json!([ids.len()]);
        tokenizer.to_string().parse().unwrap()
    });
    static LARGE_WORDS: LazyLock<WordTokenizer> = LazyLock::new(|| WordTokenizer::new(&LARGE).unwrap());

    /// Returns whether the text can be encoded word by word. If so, asserts that the ids are equal to the ids from the crate
    /// `tokenizers`, with a small vocabulary and with one of the real size.
    fn check(text: &str) -> bool {
        let is_small = check_with(text, &TOKENIZER, &WORDS);
        assert_eq!(is_small, check_with(text, &LARGE, &LARGE_WORDS));
        is_small
    }

    fn check_with(text: &str, tokenizer: &tokenizers::Tokenizer, words: &WordTokenizer) -> bool {
        let can_encode = words.can_encode(text);
        if can_encode {
            let whole = tokenizer.encode_fast(text, true).unwrap();
            assert_eq!(words.encode(text, tokenizer).unwrap(), whole.get_ids(), "{text:?}");
            let inner = tokenizer.encode_fast(text, false).unwrap();
            assert_eq!(words.count(text, tokenizer).unwrap(), inner.len(), "{text:?}");
        }
        can_encode
    }

    #[test]
    fn the_large_vocabulary_has_the_real_size_and_is_used() {
        assert_eq!(LARGE.get_vocab_size(true), VOCABULARY);
        let text = fs::read_to_string(fixture("corpus/en/handbook/support-handbook.md")).unwrap();
        let ids = LARGE_WORDS.encode(&text, &LARGE).unwrap();
        let mut used = ids.clone();
        used.sort_unstable();
        used.dedup();
        let large = used.iter().filter(|&&id| id > 1 << 16).count();
        assert!(used.len() > 400 && large > 100, "{} and {large}", used.len());
        assert_eq!(ids.last(), Some(&(VOCABULARY as u32 - 3)));
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
    fn more_words_than_the_cache_holds_have_their_ids() {
        let word = |n: usize| format!(" {n:b}").replace('0', "a").replace('1', "b");
        let text: String = (0..2 * WORDS_MAX).map(word).collect();
        assert!(check(&text) && check(&text));
    }

    #[test]
    fn texts_with_added_tokens_or_uncomposed_characters_are_not_encoded_word_by_word() {
        assert!(WORDS.can_encode("a b <|endoftext| \u{E9}"));
        assert!(!WORDS.can_encode("a <|endoftext|> b"));
        assert!(!WORDS.can_encode("e\u{301}"));
    }

    #[test]
    fn other_tokenizers_are_not_encoded_word_by_word() {
        let bert = load("bert-tiny");
        assert!(WordTokenizer::new(&bert).is_none());
        let (start, end) = (bert.token_to_id("[CLS]").unwrap(), bert.token_to_id("[SEP]").unwrap());
        assert_eq!(special_ids(&bert), Some((vec![start], vec![end])));
        let has_words = |change: fn(&mut tokenizers::Tokenizer)| {
            let mut tokenizer = TOKENIZER.clone();
            change(&mut tokenizer);
            WordTokenizer::new(&tokenizer).is_some()
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
