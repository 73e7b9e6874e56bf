//! Turns the name of a model on the Hugging Face hub into a folder with the files of the model. Downloads files that are not in
//! the cache yet. The cache is the same as that of Hugging Face's own tools.

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
