//! Text in, token ids out, as the model wants them (the only user of tokenizers).

mod words;

use self::words::encode;
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use crate::error::{DocumentError, Usage};
use words::Words;

/// Token ids of one model input, special tokens included. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding(Vec<u32>);

impl Encoding {
    /// # Panics
    /// If there are no ids: a model gives no vector for nothing.
    pub fn new(ids: Vec<u32>) -> Self {
        assert!(!ids.is_empty(), "an encoding has at least its end token");
        Encoding(ids)
    }

    /// The ids, in order.
    pub fn ids(&self) -> &[u32] {
        &self.0
    }

    /// How many tokens the model sees.
    #[allow(clippy::len_without_is_empty)] // Never empty, by construction.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// A tokenizer, and what it puts around every text.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    /// Where it is of Qwen's kind.
    words: Option<Arc<Words>>,
    /// Before the text: the instruction, or nothing.
    prefix: String,
    /// After the ids, where the tokenizer's own file leaves the end token out.
    end: Option<u32>,
    overhead: usize,
}

impl Tokenizer {
    /// Loads a `tokenizer.json`. With `end_token` (for models that are pooled at the end token), every
    /// encoding ends with that token, whether the file's post-processor appends it or not.
    pub fn load(path: &Path, end_token: Option<&str>) -> anyhow::Result<Self> {
        let in_file =
            || format!("tokenizer {}: take the tokenizer.json of the model's own repository", path.display());
        let mut inner =
            tokenizers::Tokenizer::from_file(path).map_err(|e| anyhow!("{e}")).with_context(in_file)?;
        // Files found in the wild carry both: one cuts texts in silence, the other pads them.
        inner.with_truncation(None).map_err(|e| anyhow!("{e}")).with_context(in_file)?;
        inner.with_padding(None);
        let end = match end_token {
            None => None,
            Some(token) => {
                let id = inner
                    .token_to_id(token)
                    .with_context(|| format!("no token {token}, which must end each text"))
                    .with_context(in_file)?;
                let appended = encode(&inner, "a", true).map_err(|e| anyhow!("{e}"))?.last() == Some(&id);
                (!appended).then_some(id)
            }
        };
        let words = Words::new(&inner).map(Arc::new);
        let mut tokenizer =
            Tokenizer { inner: Arc::new(inner), words, prefix: String::new(), end, overhead: 0 };
        tokenizer.measure_overhead()?;
        Ok(tokenizer)
    }

    /// Puts the instruction before every text, in the form that Qwen3-Embedding was trained with
    /// (`get_detailed_instruct` of its model card).
    pub fn with_instruction(&self, instruction: &str) -> anyhow::Result<Self> {
        let prefix = format!("Instruct: {instruction}\nQuery:");
        let mut tokenizer = Tokenizer { prefix, ..self.clone() };
        tokenizer.measure_overhead()?;
        Ok(tokenizer)
    }

    /// Adds end token (where the file does not) and prefix to the text, and encodes.
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
            return Err(DocumentError::Tokenizer("it has no tokens".into()));
        }
        Ok(Encoding(ids))
    }

    /// Tokens of the text alone, without prefix and special tokens.
    pub fn count(&self, text: &str) -> Result<usize, DocumentError> {
        match self.words_for(text) {
            Some(words) => words.count(text, &self.inner),
            None => Ok(encode(&self.inner, text, false)?.len()),
        }
    }

    /// One more than the highest id that it gives.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// Whether the tokenizer's own file appends the end token, where there has to be one.
    pub fn appends_end_token(&self) -> bool {
        self.end.is_none()
    }

    /// Tokens that every encoding has beside its text: instruction, start and end tokens.
    pub fn overhead(&self) -> usize {
        self.overhead
    }

    /// Ids that every encoding begins with: those of the instruction. Its last may become one with the first of the text,
    /// and is left out.
    pub fn shared_ids(&self) -> Result<Vec<u32>, DocumentError> {
        let mut ids = encode(&self.inner, &self.prefix, false)?;
        ids.pop();
        Ok(ids)
    }

    fn words_for(&self, text: &str) -> Option<&Words> {
        self.words.as_deref().filter(|words| words.is_for(text))
    }

    fn measure_overhead(&mut self) -> anyhow::Result<()> {
        let prefix =
            encode(&self.inner, &self.prefix, true).map_err(|e| Usage(format!("instruction: {e}")))?;
        self.overhead = prefix.len() + usize::from(self.end.is_some());
        Ok(())
    }
}
