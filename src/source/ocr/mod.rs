//! Reads pictures with a command of the user, such as tesseract.

mod cache;
mod command;
mod permits;

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::thread;

use self::cache::TextCache;
pub use self::command::CommandError;
use self::command::PictureCommand;
use self::permits::Permits;
use super::document::Limits;
use super::extract;
use super::picture::{self, Picture, Scans, Take};
use crate::digest::Digest;
use crate::error::DocumentError;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};
use crate::text::line_ends::join;

/// Separates the pages of a text.
const PAGE_END: char = '\u{C}';

/// Reads pictures. Several threads may use it at the same time: at most one command per CPU runs.
#[derive(Debug)]
pub struct Ocr {
    command: PictureCommand,
    cache: TextCache,
    permits: Permits,
}

/// The digests of the pictures of a document's pages.
type PageDigests = BTreeMap<u32, [u8; Digest::BYTES]>;

/// The texts of these pages.
type PageTexts = BTreeMap<u32, Structured>;

impl Ocr {
    /// Returns a reader that runs `command`: a program and its arguments, with quotes as in a shell. The command reads a picture
    /// from standard input and writes the text to standard output.
    ///
    /// # Errors
    /// The words of the command cannot be separated, or there is no such program.
    pub fn new(command: &str, limits: Limits) -> Result<Self, CommandError> {
        let command = PictureCommand::new(command, limits)?;
        Ok(Ocr { command, cache: TextCache::from_environment(), permits: Permits::per_cpu() })
    }

    /// Returns the text of a picture file.
    ///
    /// # Errors
    /// The file is no picture, or the command fails or exceeds a limit.
    pub fn picture(&self, file: Vec<u8>) -> Result<Structured, DocumentError> {
        picture::check(&file)?;
        let picture = Digest::of(&file);
        if let Some(text) = self.known(picture) {
            return Ok(text);
        }
        let _permit = self.permits.take();
        self.read(picture, None, file)
    }

    /// Runs `extract`, which hands over the pictures of the pages without text, and reads them meanwhile. If the cache has the texts
    /// of all these pages, `extract` need not draw them. Returns the result of `extract` and the texts.
    ///
    /// # Errors
    /// `extract` fails, or the command fails or exceeds a limit.
    pub fn pages<T>(
        &self,
        document: &[u8],
        extract: impl FnOnce(Scans, &mut Take) -> Result<T, DocumentError>,
    ) -> Result<(T, PageTexts), DocumentError> {
        // Rules of another version may draw other pages.
        let key =
            Digest::of([&extract::VERSION.to_be_bytes(), &Digest::of(document).as_bytes()[..]].concat());
        if let Some(texts) = self.known_pages(key) {
            return Ok((extract(Scans::Known, &mut |_| Ok(()))?, texts));
        }
        let read = Mutex::new(Ok((PageDigests::new(), PageTexts::new())));
        let lock = || read.lock().unwrap_or_else(PoisonError::into_inner);
        let extracted = thread::scope(|scope| {
            extract(Scans::Drawn, &mut |Picture { page, png }| {
                let permit = self.permits.take();
                if lock().is_err() {
                    // The error ends the document, whatever the worker sends next.
                    return mem::replace(&mut *lock(), Ok(Default::default())).map(drop);
                }
                let read = move || {
                    let picture = Digest::of(&png);
                    let text = self.known(picture).map_or_else(|| self.read(picture, Some(page), png), Ok);
                    drop(permit);
                    let mut read = lock();
                    match (text, &mut *read) {
                        (Ok(text), Ok((drawn, texts))) => {
                            drawn.insert(page, *picture.as_bytes());
                            texts.insert(page, text);
                        }
                        (Err(cause), Ok(_)) => *read = Err(cause),
                        (_, Err(_)) => {}
                    }
                };
                thread::Builder::new().spawn_scoped(scope, read).map_err(DocumentError::NoWorker)?;
                Ok(())
            })
        })?;
        let (drawn, texts) = read.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        if !drawn.is_empty() {
            // The next run draws the pages again if this fails.
            self.cache.put(key, &serde_json::to_string(&drawn).unwrap_or_default());
        }
        Ok((extracted, texts))
    }

    /// Returns the texts of the pages of a document that were drawn in an earlier run.
    fn known_pages(&self, key: Digest) -> Option<PageTexts> {
        let drawn: PageDigests = serde_json::from_str(&self.cache.get(key)?).ok()?;
        let text = |(page, picture)| Some((page, self.known(Digest::from_bytes(picture))?));
        drawn.into_iter().map(text).collect()
    }

    /// Returns the text of a picture that this command has read in an earlier run.
    fn known(&self, picture: Digest) -> Option<Structured> {
        Some(structured(&self.cache.get(self.command.key(picture))?))
    }

    /// Runs the command and adds the text to the cache. `page` is the number of the page; `None` for a picture file.
    fn read(&self, picture: Digest, page: Option<u32>, file: Vec<u8>) -> Result<Structured, DocumentError> {
        let text = self.command.run(file, page)?;
        self.cache.put(self.command.key(picture), &text);
        Ok(structured(&text))
    }
}

/// Returns the blocks of a text that a command has written: blank lines separate paragraphs, and form feeds separate pages.
fn structured(text: &str) -> Structured {
    let pages: Vec<&str> = text.trim_end_matches(PAGE_END).split(PAGE_END).collect();
    let mut writer = BlockWriter::default();
    for (number, page) in (1..).zip(&pages) {
        if pages.len() > 1 {
            writer.page(number);
        }
        let mut paragraph = String::new();
        for line in page.lines().map(str::trim) {
            if line.is_empty() {
                writer.block(BlockKind::Paragraph, &mem::take(&mut paragraph));
            } else {
                join(&mut paragraph, line);
                paragraph.push_str(line);
            }
        }
        writer.block(BlockKind::Paragraph, &paragraph);
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_drawn_until_all_their_texts_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { document_bytes: 1 << 20, seconds: 60, expansion: 100 };
        let read = |command: &str, document: &str| {
            let command = PictureCommand::new(command, limits).unwrap();
            let cache = TextCache::new(Some(folder.path().to_owned()));
            let ocr = Ocr { command, cache, permits: Permits::per_cpu() };
            let read = ocr.pages(document.as_bytes(), |scans, take| {
                for page in [2, 5].into_iter().filter(|_| scans == Scans::Drawn) {
                    take(Picture { page, png: format!("page {page}").into_bytes() })?;
                }
                Ok(scans)
            });
            let (scans, texts) = read.unwrap();
            let texts: Vec<_> = texts.into_iter().map(|(page, text)| (page, text.into_text())).collect();
            assert_eq!(texts, [(2, "page 2\n".to_owned()), (5, "page 5\n".to_owned())]);
            scans
        };
        assert_eq!([read("cat", "a"), read("cat", "a")], [Scans::Drawn, Scans::Known]);
        // Another command knows no text, and another document may have the same pages.
        assert_eq!([read("cat -u", "a"), read("cat -u", "a")], [Scans::Drawn, Scans::Known]);
        assert_eq!([read("cat", "b"), read("cat", "b")], [Scans::Drawn, Scans::Known]);
    }

    #[test]
    fn lines_become_paragraphs_and_pages() {
        assert_eq!(structured("A scan-\nned line \n\nnext\n\u{C}").clean().text(), "A scanned line next");
        assert_eq!(structured("一二\n三").clean().text(), "一二三");
        assert_eq!(structured(" \n\u{C}").clean(), Structured::default());
        let pages = structured("one\n\u{C}\n\u{C}three").clean();
        assert_eq!(pages, Structured::plain("one\u{C}\u{C}three".to_owned()).clean());
    }
}
