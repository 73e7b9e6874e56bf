//! Parses the name of a repository on the hub. A revision may follow the name.

use std::fmt;
use std::str::FromStr;

/// The repository to use if the user names no model.
pub const DEFAULT: &str = "Qwen/Qwen3-Embedding-0.6B";

/// What may stand before a name on the hub, so that the name cannot be a path.
pub const HUB: &str = "hf:";

/// The revision to use if the user names no revision.
const DEFAULT_REVISION: &str = "main";

/// A repository on the hub, written as `owner/name` or `owner/name@revision`, with or without [`HUB`] before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub(super) id: String,
    revision: Option<String>,
}

/// The error for a text that is not the name of a repository.
#[derive(Debug, thiserror::Error)]
#[error("model {0}: is neither a file or folder here nor a name on the hub (owner/name)")]
pub struct NotARepository(pub String);

impl Repository {
    /// Returns this repository at another revision.
    #[must_use]
    pub fn at(&self, revision: &str) -> Self {
        Repository { id: self.id.clone(), revision: Some(revision.to_owned()) }
    }

    pub(super) fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }
}

impl FromStr for Repository {
    type Err = NotARepository;

    fn from_str(text: &str) -> Result<Self, NotARepository> {
        let name = text.strip_prefix(HUB).unwrap_or(text);
        let (id, revision) = match name.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (name, None),
        };
        // The hub has the same rule for names. The rule also prevents a name that would be a path outside the cache folder.
        let is_part = |part: &str| {
            !part.is_empty()
                && part.len() <= 96
                && !part.starts_with('.')
                && !part.contains("..")
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let is_id = id.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name));
        let is_revision = |revision: &str| revision.split('/').all(is_part);
        if is_id && revision.is_none_or(is_revision) {
            return Ok(Repository { id: id.to_owned(), revision: revision.map(str::to_owned) });
        }
        Err(NotARepository(text.to_owned()))
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_hub_are_distinguished_from_paths() {
        let parsed = |text: &str| text.parse::<Repository>().map(|repository| repository.to_string()).ok();
        for name in ["Qdrant/Qwen3-Embedding-0.6B-onnx", "a/b@main", "a/b@refs/pr/1", "a/b@0123abc"] {
            assert_eq!(parsed(name).as_deref(), Some(name));
        }
        assert_eq!(parsed("hf:a/b@main").as_deref(), Some("a/b@main"));
        for name in [
            "hf:",
            "hf:a",
            "hf:hf:a/b",
            "",
            "a",
            "/a",
            "a/",
            "a/b/c",
            "../b",
            "./b",
            "a/..",
            "a/b@",
            "a/b@../x",
            "a b/c",
            "~/model",
        ] {
            assert_eq!(parsed(name), None, "{name}");
        }
    }
}
