//! Turns the path of a document into the document's id.

use std::path::Path;
use std::str::FromStr;

/// When an id starts with the name of its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdPrefix {
    /// If there are several roots.
    Auto,
    /// Even if there is one root, so that a second one changes no id.
    Always,
    /// Never. Files with the same path below two roots then have the same id, which is a failure of the second one.
    Never,
}

impl IdPrefix {
    /// Returns whether ids start with the name of their root if there are this many roots.
    pub fn applies(self, roots: usize) -> bool {
        match self {
            IdPrefix::Auto => roots > 1,
            IdPrefix::Always => true,
            IdPrefix::Never => false,
        }
    }
}

impl FromStr for IdPrefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => IdPrefix::Auto,
            "always" => IdPrefix::Always,
            "never" => IdPrefix::Never,
            _ => return Err("expected auto, always or never"),
        })
    }
}

/// Returns the id of a document. `below` is the path of the document, relative to the root. All ids of the root start with
/// `prefix`, which may be empty.
pub fn id_below(prefix: &str, below: &Path) -> String {
    let id = id_of(below);
    match prefix {
        "" => id,
        _ if id.is_empty() => prefix.to_owned(),
        _ if prefix.ends_with('/') => format!("{prefix}{id}"),
        _ => format!("{prefix}/{id}"),
    }
}

/// Returns a path as text. On every operating system, `/` separates the components of the path.
///
/// If a component is not valid UTF-8, each invalid byte is written as `\x` and two hexadecimal digits, such as `\xff`. In
/// such a component, and in a component that contains `\x`, each backslash is doubled. Therefore two different paths never
/// have the same id, and a path can be restored from its id.
pub fn id_of(below: &Path) -> String {
    let mut id = String::new();
    for part in below.components() {
        if !id.is_empty() && !id.ends_with('/') {
            id.push('/');
        }
        match part.as_os_str().to_str() {
            Some(name) if !name.contains("\\x") => id.push_str(name),
            _ => escape(part.as_os_str().as_encoded_bytes(), &mut id),
        }
    }
    id
}

fn escape(name: &[u8], id: &mut String) {
    for chunk in name.utf8_chunks() {
        id.push_str(&chunk.valid().replace('\\', "\\\\"));
        id.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_paths_with_slashes_on_every_system() {
        assert_eq!(id_of(Path::new("a/b.txt")), "a/b.txt");
        assert_eq!(id_of(Path::new("/srv/docs/今天.md")), "/srv/docs/今天.md");
        assert_eq!(id_of(Path::new(OsStr::from_bytes(b"a\xffb.txt"))), "a\\xffb.txt");
        assert_eq!(id_of(Path::new("a\\b.txt")), "a\\b.txt");
    }

    proptest! {
        #[test]
        fn no_two_names_have_the_same_id(names in proptest::collection::vec(proptest::collection::vec(proptest::sample::select(b"ax\\f\xff\xc3\xa9".to_vec()), 1..5), 0..60)) {
            let mut seen = HashMap::new();
            for name in names {
                let other = seen.insert(id_of(Path::new(OsStr::from_bytes(&name))), name.clone());
                prop_assert!(other.is_none_or(|other| other == name));
            }
        }
    }
}
