//! Names of objects, and of one content of an object.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Usage;

/// What an object, or what is below a prefix, is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Scheme and bucket, as in `s3://bucket`.
    pub(super) bucket: String,
    /// The key of an object or a prefix, as it is, without encoding; it has no `/` at its ends.
    pub(super) key: String,
    /// Whether only a prefix can be meant.
    is_prefix: bool,
}

/// Where objects are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    S3,
    Google,
    Azure,
}

impl Scheme {
    pub fn of(name: &str) -> Option<Scheme> {
        match name {
            "s3" => Some(Scheme::S3),
            "gs" | "gcs" => Some(Scheme::Google),
            "az" | "abfs" | "abfss" => Some(Scheme::Azure),
            _ => None,
        }
    }
}

impl Url {
    /// The URL that a path as typed is; `None` for a path.
    ///
    /// # Errors
    /// It begins as one and is none.
    pub fn of(path: &Path) -> Result<Option<Url>, Usage> {
        let Some((scheme, rest)) = path.to_str().and_then(|text| text.split_once("://")) else {
            return Ok(None);
        };
        if Scheme::of(scheme).is_none() {
            return Ok(None);
        }
        let scheme = if scheme == "gcs" { "gs" } else { scheme };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let is_prefix = key.is_empty() || key.ends_with('/');
        let key = key.strip_suffix('/').unwrap_or(key);
        let is_part = |part: &str| !["", ".", ".."].contains(&part) && !part.contains(char::is_control);
        if bucket.is_empty() || !(key.is_empty() || key.split('/').all(is_part)) {
            return Err(Usage(format!(
                "{}: is no URL of an object; write it as {scheme}://bucket/path, without empty parts, `.` and `..`",
                path.display()
            )));
        }
        let bucket = format!("{scheme}://{bucket}");
        Ok(Some(Url { bucket, key: key.to_owned(), is_prefix }))
    }

    /// What `build` and `read` alone take as a URL must be a path elsewhere.
    ///
    /// # Errors
    /// It is a URL; `what` is what messages call it.
    pub fn refuse(what: &str, path: &Path) -> Result<(), Usage> {
        let Some(url) = Url::of(path)? else { return Ok(()) };
        Err(Usage(format!(
            "{what} {url}: only `build` and `read` go to object storage themselves; name a file here, and copy it"
        )))
    }

    /// The last part of its key.
    pub fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }

    /// What the key is below; its bucket, where that is nothing.
    pub fn parent(&self) -> String {
        match self.key.rsplit_once('/') {
            Some((parent, _)) => format!("{}/{parent}", self.bucket),
            None => self.bucket.clone(),
        }
    }

    /// Whether only a prefix can be meant, since it ends in `/` or names a bucket.
    pub fn is_prefix(&self) -> bool {
        self.is_prefix
    }

    /// Of a key below this one.
    pub fn below(&self, key: &str) -> Url {
        let key = if self.key.is_empty() { key.to_owned() } else { format!("{}/{key}", self.key) };
        Url { bucket: self.bucket.clone(), key, is_prefix: false }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bucket)?;
        if self.key.is_empty() { Ok(()) } else { write!(f, "/{}", self.key) }
    }
}

/// Which content of an object is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub(super) etag: Option<String>,
    /// Where a store has such numbers beside.
    pub(super) version: Option<String>,
    /// How long it is.
    pub(super) bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        Url::of(Path::new(text)).unwrap().map(|url| url.to_string())
    }

    #[test]
    fn urls_are_told_from_paths() {
        for url in [
            "s3://bucket",
            "s3://bucket/a b/今天.md",
            "gs://b/k%20k",
            "abfss://c@account.dfs.core.windows.net/k",
        ] {
            assert_eq!(parsed(url).as_deref(), Some(url));
        }
        assert_eq!(parsed("s3://bucket/docs/").as_deref(), Some("s3://bucket/docs"));
        assert_eq!(parsed("gcs://bucket/docs").as_deref(), Some("gs://bucket/docs"));
        for path in ["docs", "/docs", "-", "https://a/b", "s3:/docs", "file:///docs"] {
            assert_eq!(parsed(path), None, "{path}");
        }
        for wrong in
            ["s3://", "s3:///key", "s3://bucket//key", "s3://bucket/a/../b", "az://c/.", "s3://bucket/a\nb"]
        {
            assert!(Url::of(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
