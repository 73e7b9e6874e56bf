//! The URLs and the versions of objects.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::console::is_secret_parameter;
use crate::error::Usage;

/// The URL of an object or a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub(super) scheme: Scheme,
    /// The scheme and the bucket, as in `s3://bucket`.
    pub(super) bucket: String,
    /// The key of the object or prefix, not percent-encoded, without a `/` at the start or end. Empty for a whole bucket.
    pub(super) key: String,
    is_prefix: bool,
}

/// A kind of object storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    S3,
    Google,
    Azure,
}

impl Scheme {
    fn of(name: &str) -> Option<Scheme> {
        match name {
            "s3" => Some(Scheme::S3),
            "gs" | "gcs" => Some(Scheme::Google),
            "az" | "abfs" | "abfss" => Some(Scheme::Azure),
            _ => None,
        }
    }
}

impl Url {
    /// Parses an argument. Returns `None` if the argument is a path.
    ///
    /// # Errors
    /// The argument starts like the URL of an object, but is not a valid URL.
    pub fn of(path: &Path) -> Result<Option<Url>, Usage> {
        let Some((scheme_name, rest)) = path.to_str().and_then(|text| text.split_once("://")) else {
            return Ok(None);
        };
        let Some(scheme) = Scheme::of(scheme_name) else { return Ok(None) };
        let scheme_name = if scheme_name == "gcs" { "gs" } else { scheme_name };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let is_prefix = key.is_empty() || key.ends_with('/');
        let key = key.strip_suffix('/').unwrap_or(key);
        let is_part = |part: &str| !["", ".", ".."].contains(&part) && !part.contains(char::is_control);
        if bucket.is_empty() || !(key.is_empty() || key.split('/').all(is_part)) {
            return Err(Usage(format!(
                "{}: is not a valid URL of an object; write it as {scheme_name}://bucket/path, without empty parts, `.` and `..`",
                path.display()
            )));
        }
        if has_credentials(scheme, bucket, key) {
            return Err(Usage(format!(
                "{}: has a password or a signature; write {scheme_name}://bucket/path, and put credentials into the environment",
                path.display()
            )));
        }
        let bucket = format!("{scheme_name}://{bucket}");
        Ok(Some(Url { scheme, bucket, key: key.to_owned(), is_prefix }))
    }

    /// Returns an error if `path` is a URL, for an argument that must be a path. `what` is the name of the argument in the
    /// message.
    ///
    /// # Errors
    /// `path` is a URL.
    pub fn refuse(what: &str, path: &Path) -> Result<(), Usage> {
        let Some(url) = Url::of(path)? else { return Ok(()) };
        Err(Usage(format!(
            "{what} {url}: only `build` and `read` use object storage; name a local file, and copy it from or to the bucket"
        )))
    }

    /// Returns the final part of the key, after the last `/`.
    pub fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the URL without the final part of the key, as text.
    pub fn parent(&self) -> String {
        match self.key.rsplit_once('/') {
            Some((parent, _)) => format!("{}/{parent}", self.bucket),
            None => self.bucket.clone(),
        }
    }

    /// Returns whether the URL can only be a prefix, because it ends in `/` or names a whole bucket.
    pub fn is_prefix(&self) -> bool {
        self.is_prefix
    }

    /// Returns the URL of the object with this key below this prefix.
    pub fn below(&self, key: &str) -> Url {
        let key = if self.key.is_empty() { key.to_owned() } else { format!("{}/{key}", self.key) };
        Url { bucket: self.bucket.clone(), key, is_prefix: false, ..*self }
    }
}

/// Returns whether a URL has a user, a password or a signature. The name of an object becomes an id or stands in a report, so it
/// must not contain any of these.
fn has_credentials(scheme: Scheme, bucket: &str, key: &str) -> bool {
    // In `abfss://container@account`, no user stands before the `@`.
    let has_user = bucket.contains(':') || bucket.contains('@') && scheme != Scheme::Azure;
    let mut parameters = key.split_once('?').map_or("", |(_, query)| query).split('&');
    has_user || parameters.any(|part| part.split_once('=').is_some_and(|(name, _)| is_secret_parameter(name)))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bucket)?;
        if self.key.is_empty() { Ok(()) } else { write!(f, "/{}", self.key) }
    }
}

/// Identifies one version of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub(super) etag: Option<String>,
    /// The store's own identifier of the version, if the store gives one.
    pub(super) version: Option<String>,
    /// The length of the object in bytes.
    pub(super) bytes: u64,
}

/// An object in a listing.
#[derive(Debug)]
pub struct ListedObject {
    /// The key, without the prefix that was listed.
    pub(super) key: Box<str>,
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
        for secret in [
            "s3://me:pass@bucket/a",
            "gs://me@bucket",
            "abfss://me:pass@account/a",
            "s3://bucket/a?X-Amz-Signature=1",
        ] {
            assert!(Url::of(Path::new(secret)).is_err(), "{secret}");
        }
        assert_eq!(parsed("s3://bucket/a?b=c").as_deref(), Some("s3://bucket/a?b=c"));
    }
}
