//! Where the hub's own tools keep their files, by the environment.

use std::env;
use std::path::PathBuf;

/// `HF_HOME`, or where Hugging Face's tools have it without.
pub fn home() -> Option<PathBuf> {
    variable("HF_HOME")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(variable("HOME")?.join(".cache/huggingface")))
}

pub fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
