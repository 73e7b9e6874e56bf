//! Stores digests of all bytes of an index file or a delta in its footer, and checks these digests.
//!
//! The file is the data, followed by the tail. The data are the first bytes of every Parquet file, and the pages of all row
//! groups. The tail is the page index and the footer, up to the last byte of the file. The footer stores two kinds of digests:
//!
//! - One digest per row group, computed over the bytes as they are written, and checked before the pages are decoded.
//! - The digest of the tail, which covers the digests of the row groups. While this digest is computed, zeros are in its place.
//!   It is checked before the footer is parsed.

use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, ensure};
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};
use tempfile::NamedTempFile;

use super::footer::new_entry;
use super::shared_file::OpenFile;
use crate::digest::{Digest, hex};

/// The metadata key under which a file stores the digests of its row groups, one after the other.
pub const GROUPS: &str = concat!(env!("CARGO_PKG_NAME"), ".groups");

/// The metadata key under which a file stores the length and the digest of its tail.
pub const TAIL: &str = concat!(env!("CARGO_PKG_NAME"), ".tail");

/// Length of a digest, and of the length of the tail, as hexadecimal digits. The value of [`TAIL`] is the length and the digest.
const DIGITS: usize = 2 * Digest::BYTES;

/// Length of the end of a Parquet file, in bytes: 4 bytes with the length of the footer, and 4 fixed bytes.
const END: u64 = 8;

/// Limit on the bytes that are read at a time to compute the digest of a row group.
const READ_BYTES: u64 = 256 << 10;

const CHANGED: &str = "its content has changed since it was written";
const FOOTER_CHANGED: &str = "its footer has changed since it was written";

/// Writes a file, and computes the digests of its row groups.
pub struct SealWriter {
    file: NamedTempFile,
    /// The bytes since the latest row group.
    hasher: blake3::Hasher,
    written: u64,
    groups: Vec<Digest>,
}

impl SealWriter {
    pub fn new(file: NamedTempFile) -> Self {
        SealWriter { file, hasher: blake3::Hasher::new(), written: 0, groups: Vec::new() }
    }

    /// Ends a row group. All bytes of the row group must have been written, and no other bytes.
    pub fn end_group(&mut self) {
        self.groups.push(Digest::from(&self.hasher));
        self.hasher = blake3::Hasher::new();
    }

    /// Returns all metadata entries of a file with the entries `entries`. The last entry has zeros, which [`SealWriter::seal`]
    /// replaces.
    pub fn entries(&self, mut entries: Vec<KeyValue>) -> Vec<KeyValue> {
        let groups = self.groups.iter().map(|group| hex(group.as_bytes())).collect();
        entries.extend([new_entry(GROUPS, groups), new_entry(TAIL, "0".repeat(2 * DIGITS))]);
        entries
    }

    /// Stores the digest of the tail in a complete file with the metadata entries of [`SealWriter::entries`]. `data_end` is the
    /// length of the data.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn seal(self, data_end: u64) -> anyhow::Result<NamedTempFile> {
        let file = self.file.as_file();
        let mut tail = vec![0; usize::try_from(self.written - data_end)?];
        file.read_exact_at(&mut tail, data_end)?;
        let at = tail_value(&tail).context("its footer has no place for the digest")?;
        let length = format!("{:0DIGITS$x}", tail.len());
        tail[at..][..DIGITS].copy_from_slice(length.as_bytes());
        let digest = hex(Digest::of(&tail).as_bytes());
        file.write_all_at(length.as_bytes(), data_end + at as u64)?;
        file.write_all_at(digest.as_bytes(), data_end + (at + DIGITS) as u64)?;
        Ok(self.file)
    }

    /// Returns the number of bytes written.
    pub fn written(&self) -> u64 {
        self.written
    }
}

impl Write for SealWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The digests that a file stores. The digest of the tail has been checked.
pub struct Seal {
    groups: String,
}

impl Seal {
    /// Reads the digests in a footer. `tail` is where the tail begins, as [`check_tail`] returns it. Returns `None` if the file
    /// was written before there were digests of its bytes.
    ///
    /// # Errors
    /// The metadata keys or the row groups do not fit to the tail.
    pub fn new(tail: Option<u64>, footer: &ParquetMetaData) -> anyhow::Result<Option<Self>> {
        let entries = footer.file_metadata().key_value_metadata().map_or(&[][..], Vec::as_slice);
        let entry = |key: &str| entries.iter().find(|entry| entry.key == key);
        let groups = entry(GROUPS).and_then(|entry| entry.value.clone());
        let Some(tail) = tail else {
            // A file with a damaged key must not pass for an older file.
            ensure!(groups.is_none() && entry(TAIL).is_none(), FOOTER_CHANGED);
            return Ok(None);
        };
        let groups = groups.context(FOOTER_CHANGED)?;
        let count = footer.num_row_groups();
        let is_whole =
            groups.len() == count * DIGITS && (count == 0 || bytes_of(footer, count - 1)?.end == tail);
        ensure!(is_whole, FOOTER_CHANGED);
        Ok(Some(Seal { groups }))
    }

    /// Reads the bytes of a row group and checks their digest.
    ///
    /// # Errors
    /// The row group has changed since it was written, or the file cannot be read.
    pub fn check_group(&self, file: &OpenFile, footer: &ParquetMetaData, group: usize) -> anyhow::Result<()> {
        let mut hasher = blake3::Hasher::new();
        let Range { mut start, end } = bytes_of(footer, group)?;
        while start < end {
            let count = READ_BYTES.min(end - start);
            hasher.update(&file.get_bytes(start, usize::try_from(count)?)?);
            start += count;
        }
        let digest = hex(Digest::from(&hasher).as_bytes());
        ensure!(self.groups.get(group * DIGITS..).is_some_and(|groups| groups.starts_with(&digest)), CHANGED);
        Ok(())
    }
}

/// Checks the digest of the tail. Returns where the tail begins; `None` if the file does not say this. Then the file is not an
/// index, was written before there were digests of its bytes, or is damaged.
///
/// # Errors
/// The tail has changed since it was written, or the file cannot be read.
pub fn check_tail(file: &OpenFile) -> anyhow::Result<Option<u64>> {
    let length = file.len();
    let Some(end) = length.checked_sub(END) else { return Ok(None) };
    let footer_length = file.get_bytes(end, 4)?.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    let Some(footer) = end.checked_sub(footer_length) else { return Ok(None) };
    let bytes = file.get_bytes(footer, usize::try_from(footer_length)?)?;
    let Some(at) = tail_value(&bytes) else { return Ok(None) };
    let (tail_length, digest) = bytes[at..][..2 * DIGITS].split_at(DIGITS);
    let tail_length =
        str::from_utf8(tail_length).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let tail = tail_length.and_then(|tail_length| length.checked_sub(tail_length));
    let tail = tail.filter(|&tail| tail <= footer).context(FOOTER_CHANGED)?;
    let mut bytes = file.get_bytes(tail, usize::try_from(length - tail)?)?.to_vec();
    bytes[usize::try_from(footer - tail)? + at + DIGITS..][..DIGITS].fill(b'0');
    ensure!(hex(Digest::of(&bytes).as_bytes()).as_bytes() == digest, FOOTER_CHANGED);
    Ok(Some(tail))
}

/// Returns the place of a row group in the file. The first row group begins with the first byte of the file.
fn bytes_of(footer: &ParquetMetaData, group: usize) -> anyhow::Result<Range<u64>> {
    let end = |group: usize| {
        let last = footer.row_group(group).columns().last().context("a row group has no columns")?;
        // A column with a dictionary begins with the dictionary.
        let start = last.dictionary_page_offset().unwrap_or(last.data_page_offset());
        anyhow::Ok(u64::try_from(start)? + u64::try_from(last.compressed_size())?)
    };
    Ok(group.checked_sub(1).map_or(Ok(0), end)?..end(group)?)
}

/// Finds the value of [`TAIL`] in a footer. No byte of a text stands behind this value, so the last place is the right one.
fn tail_value(footer: &[u8]) -> Option<usize> {
    const LENGTH: usize = 2 * DIGITS;
    // Thrift's compact protocol puts two bytes between key and value: the type of the value, and the length of the value.
    let before = [TAIL.as_bytes(), &[0x18, u8::try_from(LENGTH).ok()?]].concat();
    let at = footer.windows(before.len()).rposition(|bytes| bytes == before)? + before.len();
    (at + LENGTH <= footer.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::file::IndexFile;
    use crate::index::kept::KeptColumn;
    use crate::index::metadata::Metadata;
    use crate::index::part::{IndexFileError, Part};
    use crate::index::row::RowId;
    use crate::index::shared_file::SharedFile;
    use crate::index::table::{Table, TableRow};
    use crate::index::vector_column::{VectorColumn, VectorType};
    use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use serde_json::json;
    use std::fs::{self, File};
    use std::path::Path;
    use std::sync::Arc;
    use tempfile::TempDir;

    const ROWS: usize = 21;
    const NAME: &str = "index.parquet";

    /// Writes a small index with this type of vectors, and with this text in all rows and in the statistics. The vectors are the last
    /// column.
    fn index_of(kind: VectorType, text: &str) -> Vec<u8> {
        let mut table = Table::new(NamedTempFile::new().unwrap(), VectorColumn::new(kind, 4), &[]).unwrap();
        for n in 0..ROWS {
            let id = RowId { document: format!("document {n}"), chunk: None };
            let vector = vec![0.5, 0.5, 0.5, -0.5].into();
            table.push(TableRow { id, text: text.to_owned(), vector, kept: [].into() }).unwrap();
        }
        let (file, _) = table.finish(&metadata(kind)).unwrap();
        fs::read(file.path()).unwrap()
    }

    fn metadata(kind: VectorType) -> Metadata {
        let model =
            json!({"architecture": "x", "weights": "0a", "tokenizer": "0b", "pooling": null, "width": 4});
        let fingerprint = json!({
            "model": model, "dim": 4, "instruction": null, "max_tokens": 9, "rows": "documents",
            "extraction": 1, "cleaning": 1, "chunking": 1, "vector_type": kind,
        });
        let metadata = json!({"tool": "qwen3-index", "model_file": "m.onnx", "fingerprint": fingerprint});
        serde_json::from_value(metadata).unwrap()
    }

    #[test]
    fn every_byte_of_small_vectors_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        for kind in [VectorType::F16, VectorType::I8] {
            let bytes = index_of(kind, "text");
            fs::write(&path, &bytes).unwrap();
            IndexFile::open(&path).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            for at in 0..bytes.len() {
                file.write_all_at(&[bytes[at] ^ 1 << (at % 8)], at as u64).unwrap();
                let opened = IndexFile::open(&path);
                assert!(matches!(opened, Err(IndexFileError::Damaged(_))), "{kind}: byte {at}");
                file.write_all_at(&bytes[at..=at], at as u64).unwrap();
            }
        }
    }

    /// Writes a small index with a kept column, and with this text in all rows and in the statistics.
    fn index(text: &str) -> Vec<u8> {
        let vectors = VectorColumn::new(VectorType::F32, 4);
        let mut column = KeptColumn::new("price");
        column.widen(&json!(1));
        let mut table = Table::new(NamedTempFile::new().unwrap(), vectors, &[column]).unwrap();
        for n in 0..ROWS {
            let id = RowId { document: format!("document {n}"), chunk: None };
            let text = text.to_owned();
            let kept = vec![json!(n)].into();
            table.push(TableRow { id, text, vector: vec![0.5, 0.5, 0.5, -0.5].into(), kept }).unwrap();
        }
        let (file, _) = table.finish(&metadata(VectorType::F32)).unwrap();
        fs::read(file.path()).unwrap()
    }

    /// Writes an index whose text looks like a metadata entry. Returns its folder and its bytes.
    fn written() -> (TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = index(&format!("{TAIL}\u{18}@{}", "0".repeat(2 * DIGITS)));
        fs::write(folder.path().join(NAME), &bytes).unwrap();
        (folder, bytes)
    }

    fn tail_of(bytes: &[u8]) -> usize {
        let at = tail_value(bytes).unwrap();
        let length = str::from_utf8(&bytes[at..][..DIGITS]).unwrap();
        bytes.len() - usize::from_str_radix(length, 16).unwrap()
    }

    #[test]
    fn every_bit_of_the_tail_is_checked_when_a_file_is_opened() {
        let (folder, bytes) = written();
        let path = folder.path().join(NAME);
        assert_eq!(Part::open(&path).unwrap().rows(), u32::try_from(ROWS).unwrap());
        let file = File::options().write(true).open(&path).unwrap();
        for at in tail_of(&bytes)..bytes.len() {
            for bit in 0..8 {
                file.write_all_at(&[bytes[at] ^ 1 << bit], at as u64).unwrap();
                let opened = Part::open(&path);
                assert!(matches!(opened, Err(IndexFileError::Damaged(_))), "byte {at}, bit {bit}");
            }
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
        Part::open(&path).unwrap();
    }

    #[test]
    fn every_byte_of_the_data_is_checked_when_a_file_is_read_whole() {
        let (folder, bytes) = written();
        let path = folder.path().join(NAME);
        IndexFile::open(&path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        for at in 0..tail_of(&bytes) {
            file.write_all_at(&[bytes[at] ^ 1 << (at % 8)], at as u64).unwrap();
            let opened = IndexFile::open(&path);
            assert!(matches!(opened, Err(IndexFileError::Damaged(_))), "byte {at}");
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
        IndexFile::open(&path).unwrap();
    }

    /// Copies an index and leaves metadata keys out.
    fn without(keys: &[&str], from: &Path, to: &Path) {
        let open = SharedFile::open(from).unwrap().get().unwrap();
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
        let footer = reader.parse_and_finish(&open).unwrap();
        let schema = footer.file_metadata().schema_descr().root_schema_ptr();
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(File::create(to).unwrap(), schema, properties).unwrap();
        let part = Part::open(from).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for column in 0..footer.row_group(0).num_columns() {
            part.copy_column(&footer, 0, column, &mut group).unwrap();
        }
        group.close().unwrap();
        for entry in footer.file_metadata().key_value_metadata().unwrap() {
            if !keys.contains(&entry.key.as_str()) {
                writer.append_key_value_metadata(entry.clone());
            }
        }
        writer.close().unwrap();
    }

    #[test]
    fn a_file_without_a_seal_is_read_and_half_a_seal_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = [NAME, "other.parquet"].map(|name| folder.path().join(name));
        fs::write(&path, index("text")).unwrap();
        without(&[GROUPS, TAIL], &path, &other);
        assert_eq!(IndexFile::open(&other).unwrap().rows(), u32::try_from(ROWS).unwrap());
        for key in [GROUPS, TAIL] {
            without(&[key], &path, &other);
            assert!(matches!(Part::open(&other), Err(IndexFileError::Damaged(_))), "{key}");
        }
    }
}
