//! Reads the folder of Hugging Face's tools from the environment.

use std::env;
use std::path::PathBuf;

use crate::environment;

/// Returns the folder that `HF_HOME` names, or else the default folder of Hugging Face's tools. Returns `None` if `HF_HOME` is unset
/// or empty, and `XDG_CACHE_HOME` and `HOME` are not absolute paths.
pub fn home() -> Option<PathBuf> {
    path_variable("HF_HOME").or_else(|| Some(environment::cache()?.join("huggingface")))
}

/// Returns the path in an environment variable of Hugging Face's tools, which may be relative as in these tools; `None` if the
/// variable is unset or empty.
pub fn path_variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
