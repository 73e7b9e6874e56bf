//! Opens the ZIP package of an office document within bounds.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{Cursor, Read};

use memchr::memmem;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::error::ContentError;
use crate::source::decode::{declared, decode, known_format};
use crate::source::document::Limits;
use crate::source::format::{DocumentFormat, EXPANSION_FREE_BYTES, damaged, other_format};

/// Maximum number of files in a package. Each one takes some hundred bytes of memory while the package is open.
const FILES_MAX: usize = 200_000;

/// The signature of a file's entry in the directory of a ZIP archive (APPNOTE.TXT, section 4.3.12).
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";

/// The first bytes of an OLE file. Old versions of Office write such files, and a document with a password is also stored in
/// an OLE file ([MS-OFFCRYPTO], section 1.3.2).
const OLE: &[u8] = b"\xD0\xCF\x11\xE0";

/// A package whose parts are read by name.
pub struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    /// The index of each part in the archive. The key is the name in lower case.
    parts: HashMap<String, usize>,
    format: DocumentFormat,
    limits: Limits,
    /// How many bytes may still be decompressed. A part that is read twice counts twice.
    left: u64,
    /// How many stray bytes of its texts were replaced or removed.
    pub repaired: usize,
}

impl<'a> Package<'a> {
    /// Opens a package.
    ///
    /// # Errors
    /// The content is damaged, encrypted, has another format or too many parts.
    pub fn open(bytes: &'a [u8], format: DocumentFormat, limits: Limits) -> Result<Self, ContentError> {
        if bytes.starts_with(OLE) && has_encrypted_package(bytes) {
            return Err(ContentError::Password);
        }
        if let Some(found) = known_format(bytes).filter(|_| !bytes.starts_with(b"PK")) {
            return Err(other_format(format, found));
        }
        if memmem::find_iter(bytes, DIRECTORY_ENTRY).nth(FILES_MAX).is_some() {
            return Err(damaged(format, format!("it has more than {FILES_MAX} parts")));
        }
        let archive = ZipArchive::new(Cursor::new(bytes))
            .map_err(|e| damaged(format, format!("it is not a complete ZIP archive (zip: {e})")))?;
        let mut parts = HashMap::new();
        for at in 0..archive.len() {
            if let Some(Ok(name)) = archive.name_for_index(at) {
                parts.entry(key(&name)).or_insert(at);
            }
        }
        Ok(Package { archive, parts, format, limits, left: limits.document_bytes, repaired: 0 })
    }

    /// Returns the text of a part. Returns `None` if the package does not contain the part.
    ///
    /// # Errors
    /// The part is damaged, is no text or exceeds a limit.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ContentError> {
        let Some(bytes) = self.bytes(name)? else { return Ok(None) };
        let declared = declared(&bytes);
        let decoded = decode(bytes, None, declared)
            .map_err(|_| self.unreadable(format!("its part {name} is not text")))?;
        self.repaired += decoded.repaired;
        Ok(Some(decoded.text))
    }

    /// Returns the content of a part. Returns `None` if the package does not contain the part.
    ///
    /// # Errors
    /// The part is damaged or exceeds a limit.
    pub fn bytes(&mut self, name: &str) -> Result<Option<Vec<u8>>, ContentError> {
        let Some(&at) = self.parts.get(&key(name)) else { return Ok(None) };
        let format = self.format;
        let failed = |error: &dyn Display| {
            damaged(format, format!("its part {name} cannot be decompressed (zip: {error})"))
        };
        let part = self.archive.by_index(at).map_err(|e| match e {
            ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => ContentError::Password,
            e => failed(&e),
        })?;
        let compressed = part.compressed_size();
        let expanded_max = compressed.saturating_mul(self.limits.expansion).max(EXPANSION_FREE_BYTES);
        let mut bytes = Vec::new();
        part.take(self.left.min(expanded_max) + 1).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
        let read = bytes.len() as u64;
        if read > self.left {
            return Err(ContentError::TooLarge { max: self.limits.document_bytes });
        }
        if read > expanded_max {
            return Err(ContentError::Expands { max: self.limits.expansion });
        }
        self.left -= read;
        Ok(Some(bytes))
    }

    /// Returns the text of a part that the document cannot be read without.
    ///
    /// # Errors
    /// The part is missing, is damaged, is no text or exceeds a limit.
    pub fn required(&mut self, name: &str) -> Result<String, ContentError> {
        self.text(name)?.ok_or_else(|| self.unreadable(format!("its part {name} is missing")))
    }

    /// Returns the error for a package whose content cannot be used.
    pub fn unreadable(&self, reason: impl Into<String>) -> ContentError {
        damaged(self.format, reason)
    }

    /// The format that the package is read as.
    pub fn format(&self) -> DocumentFormat {
        self.format
    }
}

/// Returns the name by which a part is found. Names of parts are not case-sensitive (ECMA-376, part 2), and some programs
/// write `\` instead of `/`.
fn key(name: &str) -> String {
    name.replace('\\', "/").to_ascii_lowercase()
}

/// Returns the path of a file in a package. `file` is the path of the file, relative to `folder`.
pub fn in_folder(folder: &str, file: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Returns the folder of a part, without the final `/`.
pub fn folder(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Returns whether an OLE file has a stream with an encrypted package. The directory of the file names the stream in UTF-16.
fn has_encrypted_package(bytes: &[u8]) -> bool {
    let name: Vec<u8> = "EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes).collect();
    memmem::find(bytes, &name).is_some()
}
