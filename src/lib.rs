//! Folders of documents in, one Parquet file of Qwen3-Embedding vectors out.
//!
//! The modules from the top layer down. A module imports from the layers below its own, never from above:
//! `ARCHITECTURE.md` draws them, and `tests/suite/layers.rs` holds the rule.

pub mod cli; // arguments as typed
pub mod command; // arguments as typed -> settings as usable -> the call

pub mod eval; // vectors and known answers -> how good the vectors are
pub mod pipeline; // the stages of a build in order, on threads

pub mod index; // rows <-> the Parquet file; search in it
pub mod source; // roots -> Document

pub mod model; // the name of a model, or its folder -> an Embedder, probed
pub mod storage; // where bytes are put: files in place, locks, objects

pub mod vector; // Encoding -> Batch -> Embedding

pub mod text; // text -> clean text -> Chunk, with its Encoding

pub mod console; // lines on stderr, progress bars, numbers for people
pub mod digest; // what texts, ids and token ids are recognised by
pub mod error; // what can go wrong with one document
mod interrupt; // Ctrl-C
mod shard; // the id of a document -> the job that takes it
