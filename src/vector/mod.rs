//! Token ids in, vectors out.

pub mod batch; // Encoding -> Batch
pub mod embedder; // Batch -> Embedding, by an engine
pub mod embedding; // one vector, L2-normalized
pub(crate) mod mean; // Embeddings of a document's chunks -> Embedding of the document
pub(crate) mod pool; // hidden states -> one vector per text
pub(crate) mod texts; // texts -> Embeddings, in memory
