//! Turns a text into token ids, with the instruction and the special tokens that the model expects. No other module uses the
//! crate `tokenizers`.

mod words;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;

use self::words::{WordTokenizer, encode};
use crate::error::{DocumentError, Usage};

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
    /// Loads a `tokenizer.json`. If `end_token` is given (for models with last-token pooling), every encoding ends with this
    /// token, even if the file does not append the token.
    ///
    /// # Errors
    /// The file cannot be read or parsed, or does not have the end token.
    pub fn load(path: &Path, end_token: Option<&str>) -> anyhow::Result<Self> {
        let in_file = |cause: String| {
            anyhow!(
                "tokenizer {}: {cause}; use the tokenizer.json from the model's own repository",
                path.display()
            )
        };
        let mut inner = tokenizers::Tokenizer::from_file(path).map_err(|e| in_file(e.to_string()))?;
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
