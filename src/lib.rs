//! Reads folders of documents and writes one Parquet file of Qwen3-Embedding vectors.
//!
//! The modules form layers, listed here from top to bottom. A module imports only from lower layers. `ARCHITECTURE.md` shows
//! the layers, and `tests/suite/layers.rs` checks the imports.

#![forbid(unsafe_code)]

pub mod cli; // defines the command-line arguments
pub mod command; // turns the arguments into settings and runs the subcommand

pub mod eval; // measures the quality of vectors on test sets
pub mod pipeline; // runs the stages of a build on threads
pub mod push; // brings a collection of Qdrant to the state of an index

pub mod index; // reads, writes and searches Parquet files of vectors
pub mod source; // finds and reads documents

pub mod model; // finds, downloads and loads models
pub mod storage; // puts files in place, locks files, and reads and writes objects of a store

pub mod vector; // forms batches of chunks and embeds the chunks

pub mod text; // cleans, chunks and tokenizes texts

pub mod console; // writes messages and progress to stderr
pub mod digest; // identifies texts, ids and token ids by a hash
pub mod error; // defines the errors of documents
mod environment; // reads paths from environment variables
mod interrupt; // ends a run on Ctrl-C
mod network; // what the clients of the hub and of object storage share
mod shard; // divides the documents between jobs
