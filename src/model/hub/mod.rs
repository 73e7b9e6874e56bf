//! The name of a model on the Hugging Face hub in, a folder with its files out: from the cache that this machine's other
//! programs use too, or downloaded into it.

mod cache;
mod client;
mod environment;
mod event;
mod proxy;
mod pull;
mod repository;

pub use event::{Progress, Tell};
pub use pull::Hub;
pub use repository::{DEFAULT, Repository};
