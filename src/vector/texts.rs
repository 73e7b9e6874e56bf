//! Embeds texts that are in memory, and returns their vectors in the order of the texts. The command `build` makes the same
//! vectors from the same texts.

use rayon::prelude::*;

use super::batch::{Batching, ChunkKey, plan};
use super::embedder::{Embedder, FallbackEmbedder};
use super::embedding::Embedding;
use super::mean::mean;
use crate::console::Reporter;
use crate::error::{DocumentError, NoVector};
use crate::text::blocks::Structured;
use crate::text::chunk::{ChunkRules, chunk};
use crate::text::tokenize::{Encoding, Tokenizer};

/// Cleans, chunks and tokenizes texts. Several threads may share a `Preparer`.
#[derive(Clone)]
pub struct Preparer {
    tokenizer: Tokenizer,
    rules: ChunkRules,
}

/// A text that is ready to be embedded.
pub struct PreparedText {
    /// The text after cleaning.
    pub text: String,
    /// The token ids of each chunk (at least one chunk), or the error if the text cannot be split into chunks.
    pub chunks: Result<Vec<Encoding>, DocumentError>,
}

impl Preparer {
    fn new(tokenizer: Tokenizer, max_tokens: usize) -> Self {
        Preparer { tokenizer, rules: ChunkRules::of_documents(max_tokens, usize::MAX) }
    }

    /// Cleans a text and splits it into chunks. A text without a visible character becomes [`DocumentError::Empty`].
    pub fn prepare(&self, content: &Structured) -> PreparedText {
        let content = content.clean();
        let chunks = match content.text() {
            "" => Err(DocumentError::Empty),
            _ => chunk(&content, None, self.rules, &self.tokenizer),
        };
        let encodings = chunks.map(|chunks| chunks.into_iter().map(|chunk| chunk.encoding).collect());
        PreparedText { text: content.into_text(), chunks: encodings }
    }
}

/// The vector of a chunk, once the model has made it, and the tokens of the chunk.
type WeightedVector = (Option<Embedding>, usize);

/// Embeds texts with a loaded model: cleans and chunks the texts, embeds the chunks, and takes the mean of the chunk vectors of
/// each text.
pub struct TextEmbedder {
    preparer: Preparer,
    embedder: FallbackEmbedder,
    batching: Batching,
    batch_tokens: usize,
    dim: usize,
}

impl TextEmbedder {
    /// Makes an embedder for chunks of at most `max_tokens` tokens and for vectors of `dim` dimensions.
    pub fn new(embedder: Box<dyn Embedder>, tokenizer: Tokenizer, max_tokens: usize, dim: usize) -> Self {
        let (batching, batch_tokens) = (embedder.batching(), embedder.batch_tokens());
        let preparer = Preparer::new(tokenizer, max_tokens);
        TextEmbedder { preparer, embedder: FallbackEmbedder::new(embedder), batching, batch_tokens, dim }
    }

    /// Returns the number of dimensions of the vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns an embedder with the same model, but with another tokenizer (for another instruction) and another chunk length.
    pub fn with_tokenizer(self, tokenizer: Tokenizer, max_tokens: usize) -> Self {
        TextEmbedder { preparer: Preparer::new(tokenizer, max_tokens), ..self }
    }

    /// Returns an embedder that refuses texts with more than `tokens` tokens.
    pub fn with_text_limit(mut self, tokens: usize) -> Self {
        self.preparer.rules.text_tokens = tokens;
        self
    }

    /// Returns the preparer. Another thread can use the preparer to clean and chunk texts ahead of time.
    pub fn preparer(&self) -> &Preparer {
        &self.preparer
    }

    /// Cleans, chunks and embeds texts.
    ///
    /// # Errors
    /// The engine failed. A single text that cannot be embedded is not an error of this function: the result has an error in
    /// place of the vector of this text.
    pub fn embed<T: AsRef<str> + Sync>(
        &mut self,
        texts: &[T],
    ) -> anyhow::Result<Vec<Result<Embedding, DocumentError>>> {
        let prepared = texts
            .par_iter()
            .map(|text| self.preparer.prepare(&Structured::plain(text.as_ref().to_owned())).chunks)
            .collect();
        self.embed_prepared(prepared, None)
    }

    /// Embeds texts that [`Preparer::prepare`] has split into chunks, and reports the number of tokens of each finished batch.
    ///
    /// # Errors
    /// The engine failed.
    pub fn embed_prepared(
        &mut self,
        texts: Vec<Result<Vec<Encoding>, DocumentError>>,
        reporter: Option<&Reporter>,
    ) -> anyhow::Result<Vec<Result<Embedding, DocumentError>>> {
        let mut chunks = Vec::new();
        let mut vectors: Vec<Result<Vec<WeightedVector>, DocumentError>> = Vec::with_capacity(texts.len());
        for (document, text) in texts.into_iter().enumerate() {
            vectors.push(text.map(|encodings| {
                let missing = encodings.iter().map(|encoding| (None, encoding.len())).collect();
                let keyed = encodings.into_iter().enumerate();
                chunks.extend(keyed.map(|(chunk, encoding)| (ChunkKey { document, chunk }, encoding)));
                missing
            }));
        }
        for batch in plan(chunks, self.batching, self.batch_tokens) {
            let tokens = batch.tokens();
            for (ChunkKey { document, chunk }, vector) in self.embedder.embed(batch)? {
                match (vector, &mut vectors[document]) {
                    (Ok(vector), Ok(vectors)) => vectors[chunk].0 = Some(vector),
                    (Err(cause), vectors) => *vectors = Err(cause.into()),
                    (Ok(_), Err(_)) => {}
                }
            }
            reporter.iter().for_each(|reporter| reporter.embedded(tokens));
        }
        Ok(vectors.into_iter().map(|vectors| Ok(self.mean(vectors?)?)).collect())
    }

    fn mean(&self, chunks: Vec<WeightedVector>) -> Result<Embedding, NoVector> {
        let chunks: Vec<(Embedding, usize)> =
            chunks.into_iter().filter_map(|(vector, tokens)| Some((vector?, tokens))).collect();
        mean(&chunks)?.truncate(self.dim)
    }
}
