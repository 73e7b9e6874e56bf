//! A text in, chunks with their token ids out. Pure: neither files nor threads.

pub mod chunk; // clean text -> Chunk, with its Encoding
pub mod clean; // text -> clean text
pub(crate) mod snippet; // a text and a question -> what to show of it
pub mod tokenize; // text -> Encoding
