//! Turns token ids into vectors.

pub mod batch; // groups Encodings into Batches
pub mod embedder; // turns a Batch into Embeddings with an engine
pub mod embedding; // one vector, L2-normalized
pub(crate) mod layer; // the layers after the pooling
pub(crate) mod mean; // turns the vectors of a document's chunks into the vector of the document
pub(crate) mod pool; // turns hidden states into one vector per text
pub(crate) mod texts; // embeds texts that are in memory
