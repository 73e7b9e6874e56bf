//! Turns a text into token ids, with the instruction and the special tokens that the model expects. No other module uses the
//! crate `tokenizers`.

mod words;

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokenizers::models::bpe::BPE;
use tokenizers::{
    DecoderWrapper, NormalizedString, Normalizer, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper, TokenizerImpl,
};

use self::words::{WordTokenizer, encode};
use crate::error::{DocumentError, Usage};
use crate::interrupt;

/// The limit on the processor time for loading a tokenizer and encoding a sample text. The largest known tokenizers take three seconds
/// of one core.
const LOAD_TIME_MAX: Duration = Duration::from_secs(30);

/// The largest `tokenizer.json` that is read, in bytes. The largest known files have 35 MB.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The largest size of the normalized sample text, in bytes. Normalization may write a character in several, such as U+FDFA in 18.
const NORMALIZED_BYTES_MAX: usize = 64 * SAMPLE_BYTES;

/// The longest replacement in the normalizer, in bytes. Each character of a text may be replaced. Published files replace by a few
/// characters.
const REPLACEMENT_BYTES_MAX: usize = 256;

/// The least size of the sample text, in bytes.
const SAMPLE_BYTES: usize = 16 << 10;

/// The most repetitions of a character in the sample text.
const RUN: usize = 200;

/// A tokenizer with byte-pair encoding.
type BpeTokenizer =
    TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Token ids of one model input, special tokens included. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding(Vec<u32>);

impl Encoding {
    /// # Panics
    /// If `ids` is empty: a model returns no vector for an empty input.
    pub fn new(ids: Vec<u32>) -> Self {
        assert!(!ids.is_empty(), "an encoding has at least one token");
        Encoding(ids)
    }

    /// Returns the token ids in order.
    pub fn ids(&self) -> &[u32] {
        &self.0
    }

    /// Returns the number of tokens.
    #[allow(clippy::len_without_is_empty)] // Never empty, by construction.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// A tokenizer with the prompt and the end token that it adds to every text.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    /// A faster tokenizer for most texts. `None` if `tokenizer.json` splits texts in another way than Qwen's
    /// `tokenizer.json`.
    words: Option<Arc<WordTokenizer>>,
    /// The prompt to put before every text; empty for no prompt.
    prefix: String,
    /// The id of the end token to append; `None` if `tokenizer.json` already appends the end token, or if the model needs no
    /// end token.
    end: Option<u32>,
    /// The number of tokens that prompt, start token and end token add to each text.
    overhead: usize,
}

impl Tokenizer {
    /// Loads a `tokenizer.json`, and encodes a sample text to see that the file is no bomb. If `end_token` is given (for models with
    /// last-token pooling), every encoding ends with this token, even if the file does not append the token.
    ///
    /// # Errors
    /// The file cannot be read or parsed, does not have the end token, or needs too much time or memory.
    pub fn load(path: &Path, end_token: Option<&str>) -> anyhow::Result<Self> {
        Tokenizer::load_within(LOAD_TIME_MAX, path, end_token)
    }

    fn load_within(limit: Duration, path: &Path, end_token: Option<&str>) -> anyhow::Result<Self> {
        let (owned, end) = (path.to_owned(), end_token.map(str::to_owned));
        // The time limit is for what the file makes the tokenizer do, not for a slow disk.
        let bytes = interrupt::run(move || read(&owned))??;
        let owned = path.to_owned();
        let loaded = interrupt::run_within(limit, move || Tokenizer::parse(&bytes, &owned, end.as_deref()))?;
        loaded.unwrap_or_else(|| {
            Err(unusable(path, &format!("loading it and a sample text take more than {} s", limit.as_secs())))
        })
    }

    /// Makes a tokenizer from the content of the file at `path`.
    fn parse(content: &[u8], path: &Path, end_token: Option<&str>) -> anyhow::Result<Self> {
        let in_file = |cause: String| unusable(path, &cause);
        let mut inner = from_json(content).map_err(|e| in_file(e.to_string()))?;
        try_normalizer(&inner).map_err(in_file)?;
        // Switches off truncation and padding, because some published `tokenizer.json` files switch them on. Truncation would
        // silently shorten texts.
        inner.with_truncation(None).map_err(|e| in_file(e.to_string()))?;
        inner.with_padding(None);
        let end = match end_token {
            None => None,
            Some(token) => {
                let id = inner.token_to_id(token);
                let id =
                    id.ok_or_else(|| in_file(format!("has no token {token}, which must end each text")))?;
                let is_appended = encode(&inner, "a", true)?.last() == Some(&id);
                (!is_appended).then_some(id)
            }
        };
        let words = WordTokenizer::new(&inner).map(Arc::new);
        let mut tokenizer =
            Tokenizer { inner: Arc::new(inner), words, prefix: String::new(), end, overhead: 0 };
        tokenizer.measure_overhead()?;
        // Only the time counts. A vocabulary may lack a character of the sample.
        let _ = tokenizer.encode(&sample());
        Ok(tokenizer)
    }

    /// Returns a tokenizer that puts `prompt` before every text.
    ///
    /// # Errors
    /// The prompt cannot be tokenized.
    pub fn with_prompt(&self, prompt: &str) -> anyhow::Result<Self> {
        let mut tokenizer = Tokenizer { prefix: prompt.to_owned(), ..self.clone() };
        tokenizer.measure_overhead()?;
        Ok(tokenizer)
    }

    /// Encodes the text with the prompt before it and special tokens around it.
    ///
    /// # Errors
    /// The text cannot be tokenized, or the tokenizer returns no tokens.
    pub fn encode(&self, text: &str) -> Result<Encoding, DocumentError> {
        let text = match self.prefix.as_str() {
            "" => Cow::Borrowed(text),
            prefix => Cow::Owned(format!("{prefix}{text}")),
        };
        let mut ids = match self.words_for(&text) {
            Some(words) => words.encode(&text, &self.inner)?,
            None => encode(&self.inner, &text, true)?,
        };
        ids.extend(self.end);
        if ids.is_empty() {
            return Err(DocumentError::Tokenizer("the tokenizer returned no tokens".to_owned()));
        }
        Ok(Encoding(ids))
    }

    /// Counts the tokens of the text, without prompt and special tokens.
    ///
    /// # Errors
    /// The text cannot be tokenized.
    pub fn count(&self, text: &str) -> Result<usize, DocumentError> {
        match self.words_for(text) {
            Some(words) => words.count(text, &self.inner),
            None => Ok(encode(&self.inner, text, false)?.len()),
        }
    }

    /// Returns the size of the vocabulary: the number of tokens, or the highest id of an added token plus one.
    pub fn vocabulary(&self) -> usize {
        let added = self.inner.get_added_tokens_decoder();
        let after_added = added.keys().max().map_or(0, |&id| id as usize + 1);
        self.inner.get_vocab_size(true).max(after_added)
    }

    /// Returns whether `tokenizer.json` itself appends the end token. Also returns `true` if the model needs no end token.
    pub fn appends_end_token(&self) -> bool {
        self.end.is_none()
    }

    /// Returns the number of tokens that prompt, start token and end token add to each text.
    pub fn overhead(&self) -> usize {
        self.overhead
    }

    /// Returns the token ids that every encoding begins with: the ids of the prompt without the final id. The final id is
    /// left out, because the tokenizer may merge the final token of the prompt with the start of the text.
    ///
    /// # Errors
    /// The prompt cannot be tokenized.
    pub fn prefix_ids(&self) -> Result<Vec<u32>, DocumentError> {
        let mut ids = encode(&self.inner, &self.prefix, false)?;
        ids.pop();
        Ok(ids)
    }

    fn words_for(&self, text: &str) -> Option<&WordTokenizer> {
        self.words.as_deref().filter(|words| words.can_encode(text))
    }

    fn measure_overhead(&mut self) -> anyhow::Result<()> {
        let prefix = encode(&self.inner, &self.prefix, true).map_err(|e| Usage(format!("prompt: {e}")))?;
        self.overhead = prefix.len() + usize::from(self.end.is_some());
        Ok(())
    }
}

/// Reads a `tokenizer.json`.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let in_file = |cause: String| unusable(path, &cause);
    let bytes = path.metadata().map_err(|e| in_file(e.to_string()))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(in_file(format!("has {bytes} bytes, and at most {FILE_BYTES_MAX} are read")));
    }
    fs::read(path).map_err(|e| in_file(e.to_string()))
}

/// Parses a `tokenizer.json`. The crate finds out the kind of model by reading the vocabulary into generic values first, which takes as
/// long again. So this function tries the kind of most models first.
fn from_json(content: &[u8]) -> serde_json::Result<tokenizers::Tokenizer> {
    match serde_json::from_slice::<BpeTokenizer>(content) {
        Ok(tokenizer) => Ok(tokenizer.into()),
        Err(_) => serde_json::from_slice(content),
    }
}

/// Returns the error for a `tokenizer.json` that cannot be used.
fn unusable(path: &Path, cause: &str) -> anyhow::Error {
    anyhow!("tokenizer {}: {cause}; use the tokenizer.json from the model's own repository", path.display())
}

/// Returns a text with runs of each printable ASCII character and of some others, alone and mixed. A regular expression that
/// backtracks, and a replacement that repeats itself, take long on runs.
fn sample() -> String {
    let mut text = String::new();
    for character in (' '..='~').chain("\n\té雨か한🌧\u{301}".chars()).cycle() {
        if text.len() >= SAMPLE_BYTES {
            break;
        }
        text.extend(std::iter::repeat_n(character, RUN));
        text.extend(['a', ' ', character, '1']);
    }
    text
}

/// Checks that the normalizer does not blow up a text. Each step of the normalizer is checked before the next one runs.
fn try_normalizer(tokenizer: &tokenizers::Tokenizer) -> Result<(), String> {
    let mut text = NormalizedString::from(sample());
    tokenizer.get_normalizer().map_or(Ok(()), |normalizer| normalize(normalizer, &mut text))
}

fn normalize(normalizer: &NormalizerWrapper, text: &mut NormalizedString) -> Result<(), String> {
    if let NormalizerWrapper::Sequence(steps) = normalizer {
        return steps.as_ref().iter().try_for_each(|step| normalize(step, text));
    }
    if let NormalizerWrapper::Replace(replace) = normalizer
        && replace.content.len() > REPLACEMENT_BYTES_MAX
    {
        return Err(format!(
            "its normalizer replaces by {} bytes, and at most {REPLACEMENT_BYTES_MAX} are allowed",
            replace.content.len()
        ));
    }
    normalizer.normalize(text).map_err(|e| e.to_string())?;
    match text.get().len() {
        bytes if bytes > NORMALIZED_BYTES_MAX => {
            Err(format!("its normalizer makes {bytes} bytes of a text of {}", text.get_original().len()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Returns a folder with the `tokenizer.json` of the tiny model after a change.
    fn changed(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/qwen3-tiny/tokenizer.json");
        let mut tokenizer = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        change(&mut tokenizer);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        folder
    }

    fn refused(limit: Duration, folder: &tempfile::TempDir) -> String {
        let path = folder.path().join("tokenizer.json");
        let error = Tokenizer::load_within(limit, &path, None).err().unwrap().to_string();
        assert!(error.starts_with(&format!("tokenizer {}: ", path.display())), "{error}");
        error
    }

    #[test]
    fn the_content_of_a_file_is_the_one_that_the_crate_reads() {
        let merges = |written: fn(&Value) -> Value| {
            changed(|tokenizer| {
                let merges = tokenizer["model"]["merges"].as_array_mut().unwrap();
                merges.iter_mut().for_each(|pair| *pair = written(pair));
            })
        };
        let joined =
            merges(|pair| json!(format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap())));
        let untyped = changed(|tokenizer| _ = tokenizer["model"].as_object_mut().unwrap().remove("type"));
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        for folder in
            [joined.path(), untyped.path(), &fixtures.join("qwen3-tiny"), &fixtures.join("bert-tiny")]
        {
            let content = fs::read(folder.join("tokenizer.json")).unwrap();
            let expected = tokenizers::Tokenizer::from_bytes(&content).unwrap();
            let parsed = from_json(&content).unwrap();
            assert_eq!(parsed.to_string(false).unwrap(), expected.to_string(false).unwrap());
        }
        // An error is told in the words of the crate.
        let wrong = changed(|tokenizer| tokenizer["model"]["merges"] = json!([["never", "seen"]]));
        let content = fs::read(wrong.path().join("tokenizer.json")).unwrap();
        let expected = tokenizers::Tokenizer::from_bytes(&content).unwrap_err();
        assert_eq!(from_json(&content).unwrap_err().to_string(), expected.to_string());
    }

    #[test]
    fn a_normalizer_that_doubles_a_text_again_and_again_is_refused() {
        let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        let steps = json!({"type": "Sequence", "normalizers": vec![double; 60]});
        let nested = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, steps]});
        let folder = changed(|tokenizer| tokenizer["normalizer"] = nested);
        assert!(refused(LOAD_TIME_MAX, &folder).contains("its normalizer makes "));
    }

    #[test]
    fn a_normalizer_with_a_long_replacement_is_refused_before_it_runs() {
        let replace = |bytes: usize| {
            let replace =
                json!({"type": "Replace", "pattern": {"String": "a"}, "content": "b".repeat(bytes)});
            changed(|tokenizer| tokenizer["normalizer"] = replace)
        };
        let long = refused(LOAD_TIME_MAX, &replace(REPLACEMENT_BYTES_MAX + 1));
        assert!(long.contains("its normalizer replaces by 257 bytes"), "{long}");
        assert!(Tokenizer::load(&replace(10).path().join("tokenizer.json"), None).is_ok());
    }

    #[test]
    fn a_tokenizer_that_takes_too_long_is_refused() {
        let folder = changed(|_| {});
        assert!(Tokenizer::load(&folder.path().join("tokenizer.json"), None).is_ok());
        assert!(refused(Duration::ZERO, &folder).contains("take more than 0 s"));
    }

    #[test]
    fn a_tokenizer_that_is_too_large_is_not_read() {
        let folder = changed(|_| {});
        let file = fs::OpenOptions::new().write(true).open(folder.path().join("tokenizer.json")).unwrap();
        file.set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(refused(LOAD_TIME_MAX, &folder).contains("has 268435457 bytes"));
    }
}
