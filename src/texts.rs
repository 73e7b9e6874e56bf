//! Texts in, their vectors out, in the same order and as a build makes them; all in memory.

use crate::batch::{Batching, ChunkKey, plan};
use crate::chunk::chunk;
use crate::clean::clean;
use crate::embed::{Embedder, Embedding, Patient};
use crate::error::{DocumentError, NoVector};
use crate::merge;
use crate::report::Reporter;
use crate::tokenize::Tokenizer;

/// A model that is ready, and how its texts are treated.
pub struct TextEmbedder {
    tokenizer: Tokenizer,
    embedder: Patient,
    batching: Batching,
    batch_tokens: usize,
    max_tokens: usize,
    dim: usize,
}

impl TextEmbedder {
    /// Texts of more than `max_tokens` are cut into chunks, and the first `dim` numbers of their mean taken.
    pub fn new(embedder: Box<dyn Embedder>, tokenizer: Tokenizer, max_tokens: usize, dim: usize) -> Self {
        let (batching, batch_tokens) = (embedder.batching(), embedder.batch_tokens());
        TextEmbedder { tokenizer, embedder: Patient::new(embedder), batching, batch_tokens, max_tokens, dim }
    }

    /// Length of the vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The same model for other texts: with another instruction, or cut elsewhere.
    pub fn with_texts(self, tokenizer: Tokenizer, max_tokens: usize) -> Self {
        TextEmbedder { tokenizer, max_tokens, ..self }
    }

    /// Cleans, chunks and embeds.
    ///
    /// # Errors
    /// The engine failed. What is wrong with one text is its own error.
    pub fn embed<T: AsRef<str>>(
        &mut self,
        texts: &[T],
    ) -> anyhow::Result<Vec<Result<Embedding, DocumentError>>> {
        self.embed_shown(texts, None)
    }

    /// The same, and shows how far it is.
    ///
    /// # Errors
    /// As of [`TextEmbedder::embed`].
    pub fn embed_shown<T: AsRef<str>>(
        &mut self,
        texts: &[T],
        reporter: Option<&Reporter>,
    ) -> anyhow::Result<Vec<Result<Embedding, DocumentError>>> {
        let mut chunks = Vec::new();
        let mut vectors: Vec<Result<Vec<Option<Embedding>>, DocumentError>> = Vec::new();
        for (document, text) in texts.iter().enumerate() {
            let cut = match clean(text.as_ref()) {
                text if text.is_empty() => Err(DocumentError::Empty),
                text => chunk(&text, self.max_tokens, &self.tokenizer),
            };
            if let Some(reporter) = reporter {
                let tokens = cut.iter().flatten().map(|chunk| chunk.encoding.len()).sum();
                reporter.prepared(text.as_ref().len() as u64, tokens);
            }
            vectors.push(cut.map(|cut| {
                let none = vec![None; cut.len()];
                let key = |chunk| ChunkKey { document, chunk };
                chunks.extend(cut.into_iter().enumerate().map(|(at, chunk)| (key(at), chunk.encoding)));
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
        merge::mean(&chunks)?.cut(self.dim)
    }
}
