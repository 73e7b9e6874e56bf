//! Texts in, their vectors out, in the same order and as a build makes them; all in memory.

use rayon::prelude::*;

use super::batch::{Batching, ChunkKey, plan};
use super::embedder::{Embedder, Patient};
use super::embedding::Embedding;
use super::mean::mean;
use crate::console::Reporter;
use crate::error::{DocumentError, NoVector};
use crate::text::chunk::chunk;
use crate::text::clean::clean;
use crate::text::tokenize::{Encoding, Tokenizer};

/// Makes of texts what the model gets for them, on any thread.
#[derive(Clone)]
pub struct Preparer {
    tokenizer: Tokenizer,
    max_tokens: usize,
}

/// A text on its way to the model.
pub struct PreparedText {
    /// Cleaned.
    pub text: String,
    /// At least one.
    pub chunks: Result<Vec<Encoding>, DocumentError>,
}

impl Preparer {
    /// Cleans and cuts; a text that is empty then is [`DocumentError::Empty`].
    pub fn prepare(&self, text: &str) -> PreparedText {
        let text = clean(text);
        let chunks = match text.as_str() {
            "" => Err(DocumentError::Empty),
            text => chunk(text, self.max_tokens, &self.tokenizer),
        };
        let encodings = chunks.map(|chunks| chunks.into_iter().map(|chunk| chunk.encoding).collect());
        PreparedText { text, chunks: encodings }
    }
}

/// A model that is ready, and how its texts are treated.
pub struct TextEmbedder {
    preparer: Preparer,
    embedder: Patient,
    batching: Batching,
    batch_tokens: usize,
    dim: usize,
}

impl TextEmbedder {
    /// Texts of more than `max_tokens` are cut into chunks, and the first `dim` numbers of their mean taken.
    pub fn new(embedder: Box<dyn Embedder>, tokenizer: Tokenizer, max_tokens: usize, dim: usize) -> Self {
        let (batching, batch_tokens) = (embedder.batching(), embedder.batch_tokens());
        let preparer = Preparer { tokenizer, max_tokens };
        TextEmbedder { preparer, embedder: Patient::new(embedder), batching, batch_tokens, dim }
    }

    /// Length of the vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The same model for other texts: with another instruction, or cut elsewhere.
    pub fn with_texts(self, tokenizer: Tokenizer, max_tokens: usize) -> Self {
        TextEmbedder { preparer: Preparer { tokenizer, max_tokens }, ..self }
    }

    /// What texts go through before they come here.
    pub fn preparer(&self) -> &Preparer {
        &self.preparer
    }

    /// Cleans, chunks and embeds.
    ///
    /// # Errors
    /// The engine failed. What is wrong with one text is its own error.
    pub fn embed<T: AsRef<str> + Sync>(
        &mut self,
        texts: &[T],
    ) -> anyhow::Result<Vec<Result<Embedding, DocumentError>>> {
        let prepared = texts.par_iter().map(|text| self.preparer.prepare(text.as_ref()).chunks).collect();
        self.embed_prepared(prepared, None)
    }

    /// Embeds chunks, and merges those of a text; tells of each batch that is done.
    ///
    /// # Errors
    /// As those of [`TextEmbedder::embed`].
    pub fn embed_prepared(
        &mut self,
        texts: Vec<Result<Vec<Encoding>, DocumentError>>,
        reporter: Option<&Reporter>,
    ) -> anyhow::Result<Vec<Result<Embedding, DocumentError>>> {
        let mut chunks = Vec::new();
        let mut vectors: Vec<Result<Vec<Option<Embedding>>, DocumentError>> = Vec::with_capacity(texts.len());
        for (document, text) in texts.into_iter().enumerate() {
            vectors.push(text.map(|encodings| {
                let none = vec![None; encodings.len()];
                let key = |chunk| ChunkKey { document, chunk };
                chunks.extend(encodings.into_iter().enumerate().map(|(at, encoding)| (key(at), encoding)));
                none
            }));
        }
        for batch in plan(chunks, self.batching, self.batch_tokens) {
            let tokens = batch.tokens();
            for (ChunkKey { document, chunk }, vector) in self.embedder.embed(batch)? {
                match (vector, &mut vectors[document]) {
                    (Ok(vector), Ok(vectors)) => vectors[chunk] = Some(vector),
                    (Err(cause), vectors) => *vectors = Err(cause.into()),
                    (Ok(_), Err(_)) => {}
                }
            }
            reporter.iter().for_each(|reporter| reporter.embedded(tokens));
        }
        Ok(vectors.into_iter().map(|vectors| Ok(self.merge(vectors?)?)).collect())
    }

    fn merge(&self, chunks: Vec<Option<Embedding>>) -> Result<Embedding, NoVector> {
        let chunks: Vec<Embedding> = chunks.into_iter().flatten().collect();
        mean(&chunks)?.cut(self.dim)
    }
}
