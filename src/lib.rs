//! Folders of documents in, one Parquet file of Qwen3-Embedding vectors out.
//!
//! The modules, in the order that data flows through them; `ARCHITECTURE.md` draws it.

pub mod source; // roots -> Document
pub mod clean; // text -> clean text
pub mod digest; // clean text -> what it is recognised by
pub mod shard; // the id of a document -> whose it is, of several jobs
pub mod chunk; // clean text -> Chunk, with its Encoding
pub mod tokenize; // text -> Encoding
pub mod batch; // Encoding -> Batch
pub mod hub; // the name of a model -> a model folder
pub mod model; // a model folder -> an Embedder, probed
pub mod bundle; // a model folder -> a folder for a machine without a network
pub mod embed; // Batch -> Embedding
pub mod pool; // hidden states -> one vector a text
pub mod journal; // Embedding -> disk, at once
pub mod merge; // Embeddings of chunks -> Embedding of a document
pub mod index; // Row -> the Parquet file
pub mod stale; // what of the old file stands for what cannot be read today
pub mod texts; // texts -> Embeddings, in memory
pub mod search; // Embeddings of questions -> the rows nearest to them
pub mod snippet; // a text and a question -> what to show of it
pub mod inspect; // the Parquet file -> figures on it, and what is wrong with it
pub mod eval; // vectors, and answers that are known -> how good the vectors are
pub mod pipeline; // all of the above, in order, on threads

pub mod ahead; // a thread that is one step ahead
pub mod lock; // one run at a time
pub mod interrupt; // Ctrl-C
pub mod report; // what a person sees while it runs, and after
pub mod error; // what can go wrong with one document
pub mod cli; // arguments as typed
pub mod command; // arguments as typed -> settings as usable -> the call
