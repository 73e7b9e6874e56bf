//! The names of the files in which a graph has its weights: in its bytes out.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Component, Path};

use anyhow::{Context, bail};
use memchr::memmem;

/// Bytes read at a time.
const BLOCK: usize = 1 << 20;

/// In an ONNX file the name of an external data file stands after these bytes: a protobuf
/// `StringStringEntryProto` with the key `location`. Searching for them finds the names at any depth
/// (subgraphs have tensors too) without a parser for the whole format.
const LOCATION: &[u8] = b"\x0a\x08location\x12";

/// Bytes of the longest name that a file system takes, and of its length as a protobuf varint.
const NAME_BYTES_MAX: usize = 4096;
const VARINT_BYTES: usize = 2;

/// What is kept of the block before, so that a name across the border is found.
const KEPT_MAX: usize = LOCATION.len() + VARINT_BYTES + NAME_BYTES_MAX;

/// Fields on the way from a graph's file to the numbers of a tensor (`onnx.proto`): `ModelProto.graph`, `GraphProto.initializer`,
/// `TensorProto.raw_data`.
const TO_NUMBERS: [u64; 3] = [7, 5, 9];

/// Fewer bytes are sooner read than jumped over.
const NUMBERS_MIN: u64 = 64 << 10;

/// Names of the files that a graph has tensors in, as paths from its folder.
///
/// # Errors
/// It cannot be read, or names what is outside of its folder: such a graph is not made in good faith.
pub fn external_data(onnx: &Path) -> anyhow::Result<BTreeSet<String>> {
    let names = search(onnx, &numbers(onnx)?, |_| {})?;
    let is_inside =
        |name: &String| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if let Some(name) = names.iter().find(|name| name.is_empty() || !is_inside(name)) {
        bail!(
            "model file {}: names data outside of its folder ({name}); take another export",
            onnx.display()
        );
    }
    Ok(names)
}

/// Reads the file in blocks, but for some parts of it, and gives back the names of external data that stand there.
pub fn search(
    path: &Path,
    leave_out: &[Range<u64>],
    mut f: impl FnMut(&[u8]),
) -> anyhow::Result<BTreeSet<String>> {
    let in_file = || format!("model file {}", path.display());
    let mut file = File::open(path).with_context(in_file)?;
    let mut names = BTreeSet::new();
    let mut buffer = vec![0; KEPT_MAX + BLOCK];
    let mut leave_out = leave_out.iter();
    let mut at = 0;
    loop {
        let next = leave_out.next();
        let part = (&mut file).take(next.map_or(u64::MAX, |next| next.start - at));
        search_part(part, &mut buffer, &mut names, &mut f).with_context(in_file)?;
        let Some(next) = next else { return Ok(names) };
        at = file.seek(SeekFrom::Start(next.end)).with_context(in_file)?;
    }
}

fn search_part(
    mut part: impl Read,
    buffer: &mut [u8],
    names: &mut BTreeSet<String>,
    f: &mut impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut kept = 0;
    loop {
        let count = part.read(&mut buffer[kept..kept + BLOCK])?;
        if count == 0 {
            return Ok(());
        }
        f(&buffer[kept..kept + count]);
        let filled = kept + count;
        names.extend(locations(&buffer[..filled]));
        let keep_from = filled.saturating_sub(KEPT_MAX);
        buffer.copy_within(keep_from..filled, 0);
        kept = filled - keep_from;
    }
}

/// The names that stand behind [`LOCATION`], each after its length.
fn locations(bytes: &[u8]) -> impl Iterator<Item = String> {
    memmem::find_iter(bytes, LOCATION).filter_map(|at| {
        let rest = &bytes[at + LOCATION.len()..];
        let (length, name) = match *rest {
            [low @ 0..0x80, ref name @ ..] => (usize::from(low), name),
            [low, high @ 0..0x80, ref name @ ..] => (usize::from(low & 0x7F) | usize::from(high) << 7, name),
            _ => return None,
        };
        Some(std::str::from_utf8(name.get(..length)?).ok()?.to_owned())
    })
}

/// Where the numbers of large tensors stand, which is nearly all of a graph that has its weights in itself. Nowhere, in a
/// file that is no graph.
fn numbers(onnx: &Path) -> anyhow::Result<Vec<Range<u64>>> {
    let in_file = || format!("model file {}", onnx.display());
    let file = File::open(onnx).with_context(in_file)?;
    let end = file.metadata().with_context(in_file)?.len();
    let mut found = Vec::new();
    match (Fields { reader: BufReader::new(file), at: 0 }).find(end, &TO_NUMBERS, &mut found) {
        Ok(()) => Ok(found),
        Err(e) if [ErrorKind::InvalidData, ErrorKind::UnexpectedEof].contains(&e.kind()) => Ok(Vec::new()),
        Err(e) => Err(e).with_context(in_file),
    }
}

/// A protobuf file, field by field.
struct Fields {
    reader: BufReader<File>,
    at: u64,
}

impl Fields {
    /// Goes through a message up to its end, and into the messages on the way, to the fields at the end of it.
    fn find(&mut self, end: u64, way: &[u64], found: &mut Vec<Range<u64>>) -> io::Result<()> {
        while self.at < end {
            let tag = self.varint()?;
            match tag & 7 {
                0 => drop(self.varint()?),
                1 => self.go_to(self.at + 8)?,
                5 => self.go_to(self.at + 4)?,
                2 => {
                    let length = self.varint()?;
                    let start = self.at;
                    let stop = start.checked_add(length).filter(|&stop| stop <= end);
                    let stop = stop.ok_or(ErrorKind::InvalidData)?;
                    match way {
                        [field] if tag >> 3 == *field && length >= NUMBERS_MIN => found.push(start..stop),
                        [field, rest @ ..] if tag >> 3 == *field && !rest.is_empty() => {
                            self.find(stop, rest, found)?
                        }
                        _ => {}
                    }
                    self.go_to(stop)?;
                }
                _ => return Err(ErrorKind::InvalidData.into()),
            }
        }
        if self.at == end { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let mut byte = [0];
            self.reader.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7F) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(ErrorKind::InvalidData.into())
    }

    fn go_to(&mut self, place: u64) -> io::Result<()> {
        // Never back: a message ends behind what is in it.
        self.reader.seek_relative((place - self.at).try_into().map_err(|_| ErrorKind::InvalidData)?)?;
        self.at = place;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::time::Instant;

    use super::*;

    #[test]
    fn data_outside_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        for (name, is_good) in [
            ("weights", true),
            ("a/weights", true),
            ("../weights", false),
            ("/tmp/weights", false),
            ("a/../../b", false),
        ] {
            std::fs::write(&path, [LOCATION, &[name.len() as u8], name.as_bytes()].concat()).unwrap();
            assert_eq!(external_data(&path).is_ok(), is_good, "{name}");
        }
    }

    #[test]
    fn names_of_external_data_are_found_wherever_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let (short, long) = ("weights.bin".to_owned(), "w".repeat(200));
        for before in [0, BLOCK - 12, BLOCK - 5, BLOCK, 3 * BLOCK - 100] {
            let mut bytes = vec![7; before];
            for name in [&short, &long] {
                bytes.extend_from_slice(LOCATION);
                let length = name.len() as u8;
                if name.len() < 0x80 {
                    bytes.push(length)
                } else {
                    bytes.extend([length | 0x80, 1])
                }
                bytes.extend_from_slice(name.as_bytes());
            }
            let path = folder.path().join("model.onnx");
            std::fs::write(&path, &bytes).unwrap();
            let mut read = Vec::new();
            let names = search(&path, &[], |block| read.extend_from_slice(block)).unwrap();
            assert_eq!(
                names.into_iter().collect::<Vec<_>>(),
                [long.clone(), short.clone()].into_iter().rev().collect::<Vec<_>>()
            );
            assert!(read == bytes);
            assert_eq!(external_data(&path).unwrap().len(), 2, "no graph, so all of it is searched");
        }
    }

    #[test]
    fn names_are_those_of_the_whole_file() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let models = ["qwen3-tiny", "qwen3-toy", "bert-tiny"].map(|name| fixtures.join(name).join("onnx"));
        let files = models.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        let graphs =
            files.map(|file| file.unwrap().path()).filter(|path| path.extension() == Some("onnx".as_ref()));
        let (mut external, mut own) = (0, 0);
        for path in graphs {
            let names = external_data(&path).unwrap();
            assert_eq!(names, search(&path, &[], |_| {}).unwrap(), "{}", path.display());
            external += names.len();
            own += numbers(&path).unwrap().len();
        }
        assert!(external > 0 && own > 0, "{external} {own}");
    }

    #[test]
    fn numbers_are_not_read() {
        const HOLE: u64 = 1 << 40;
        let varint = |mut value: u64| {
            let mut bytes = Vec::new();
            while value >= 0x80 {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
            bytes
        };
        let field = |number: u8, length: u64| [vec![number << 3 | 2], varint(length)].concat();
        let entry = [LOCATION, b"\x07weights"].concat();
        let other = [field(13, entry.len() as u64), entry].concat();
        let other = [field(5, other.len() as u64), other].concat();
        let numbers = field(9, HOLE);
        let tensor = field(5, numbers.len() as u64 + HOLE);
        let graph = field(7, (tensor.len() + numbers.len() + other.len()) as u64 + HOLE);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let mut file = File::create(&path).unwrap();
        file.write_all(&[graph, tensor, numbers].concat()).unwrap();
        file.seek(SeekFrom::Current(HOLE as i64)).unwrap();
        file.write_all(&other).unwrap();
        let started = Instant::now();
        assert_eq!(external_data(&path).unwrap().into_iter().collect::<Vec<_>>(), ["weights"]);
        assert!(started.elapsed().as_secs() < 10);
    }
}
