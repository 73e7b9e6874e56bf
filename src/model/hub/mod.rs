//! Turns the name of a model on the Hugging Face hub into a folder with its files: in the cache that Hugging Face's own tools
//! use, or downloaded into it.

mod cache;
mod client;
mod environment;
mod event;
mod proxy;
mod pull;
mod repository;

pub use event::{OnProgress, Progress};
pub use pull::Hub;
pub use repository::{DEFAULT, Repository};
