//! What is known of a file before it is opened: what it holds, and what it is packed with.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One document, as it stands.
    Text,
    /// One document.
    Markdown,
    /// A document a line.
    Jsonl,
}

/// What a file is packed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
}

/// What is known of a file by the ending of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// What it holds.
    pub kind: Kind,
    /// What it is packed with.
    pub packing: Option<Packing>,
}

impl Form {
    /// What a file may end in.
    pub const ENDINGS: &str = ".txt .text .md .markdown .jsonl .ndjson, with .gz or .zst behind it or not";

    /// What the name says, if it says anything.
    pub fn of(path: &Path) -> Option<Form> {
        let packing = Packing::of(path);
        let inner = if packing.is_some() { path.with_extension("") } else { path.to_owned() };
        let kind = match ending(&inner)?.as_str() {
            "txt" | "text" => Kind::Text,
            "md" | "markdown" => Kind::Markdown,
            "jsonl" | "ndjson" => Kind::Jsonl,
            _ => return None,
        };
        Some(Form { kind, packing })
    }

    /// Of a file that was asked for by name, whatever it ends in.
    pub fn text(path: &Path) -> Form {
        Form { kind: Kind::Text, packing: Packing::of(path) }
    }

    /// The bytes of such a file, unpacked as they are read.
    pub fn open(self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let file = File::open(path)?;
        Ok(match self.packing {
            None => Box::new(file),
            Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(BufReader::new(file))),
            Some(Packing::Zstd) => Box::new(zstd::Decoder::new(file)?),
        })
    }
}

impl Packing {
    fn of(path: &Path) -> Option<Packing> {
        match ending(path)?.as_str() {
            "gz" => Some(Packing::Gzip),
            "zst" => Some(Packing::Zstd),
            _ => None,
        }
    }
}

fn ending(path: &Path) -> Option<String> {
    Some(path.extension()?.to_ascii_lowercase().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_known_by_the_ending() {
        let form = |name: &str| Form::of(Path::new(name)).map(|form| (form.kind, form.packing));
        assert_eq!(form("a.TXT"), Some((Kind::Text, None)));
        assert_eq!(form("a.b.md.gz"), Some((Kind::Markdown, Some(Packing::Gzip))));
        assert_eq!(form("a.jsonl.zst"), Some((Kind::Jsonl, Some(Packing::Zstd))));
        assert_eq!(form("a.gz"), None);
        assert_eq!(form("txt"), None);
    }
}
