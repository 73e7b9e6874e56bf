//! Turns the name of a model on the Hugging Face hub into a folder with the files of the model. Downloads files that are not in
//! the cache yet. Hugging Face's own tools use the same cache.

mod cache;
mod client;
mod environment;
mod error;
mod event;
mod pull;
mod repository;

pub use cache::CachedModel;
pub use environment::{home, path_variable};
pub use error::{HubError, NotCached};
pub use event::{OnProgress, Progress};
pub use pull::{Hub, Wanted};
pub use repository::{DEFAULT, HUB, NotARepository, Repository};
