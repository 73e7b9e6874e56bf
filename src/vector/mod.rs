//! Token ids in, vectors out.

pub mod batch; // Encoding -> Batch
pub mod embedder; // Batch -> Embedding, by an engine
pub mod embedding; // one vector
pub(crate) mod mean; // Embeddings of chunks -> Embedding of a document
pub(crate) mod pool; // hidden states -> one vector per text
pub(crate) mod texts; // texts -> Embeddings, in memory
