//! Finds the format of a file by its file extension, and decompresses files within limits.
//!
//! The file extension alone decides how a file is read. No file is opened to find its format.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use crate::error::{ContentError, StoreError};

/// The kind of a file: a text, a document or rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatKind {
    /// The file is one document, and its whole content is the text.
    Text,
    /// The file is one document, and the text must be extracted from its content.
    Document(DocumentFormat),
    /// The file is a picture, and a command reads its text.
    Picture,
    /// Each row of the file is one document.
    Rows(RowFormat),
}

impl FormatKind {
    /// Returns the name of the format for messages.
    pub fn name(self) -> &'static str {
        match self {
            FormatKind::Text => "text",
            FormatKind::Document(format) => format.name(),
            FormatKind::Picture => "picture",
            FormatKind::Rows(format) => format.name(),
        }
    }

    /// Returns whether a file in this format is decoded.
    pub fn is_text(self) -> bool {
        match self {
            FormatKind::Text => true,
            FormatKind::Document(format) => format.is_text(),
            FormatKind::Picture => false,
            FormatKind::Rows(format) => !matches!(format, RowFormat::Mbox | RowFormat::Collection(_)),
        }
    }
}

/// A file format with one document per file. The text must be extracted from the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DocumentFormat {
    /// CommonMark with tables, footnotes, formulas and the marks of other dialects, such as MDX.
    Markdown,
    /// HTML, including invalid HTML that browsers accept.
    Html,
    /// HTML in XML syntax.
    Xhtml,
    Pdf,
    /// Office Open XML for text documents, the format of Word.
    Docx,
    /// Office Open XML for presentations, the format of PowerPoint.
    Pptx,
    /// OpenDocument for texts, the format of LibreOffice Writer, as a package or as one XML file.
    Odt,
    /// OpenDocument for presentations, the format of LibreOffice Impress.
    Odp,
    Epub,
    /// A mail message.
    Eml,
    ReStructuredText,
    AsciiDoc,
    /// The format of Emacs Org mode.
    Org,
    Latex,
    /// Jupyter notebooks.
    Notebook,
    /// SubRip and WebVTT.
    Subtitles,
    /// XML of any vocabulary.
    Xml,
    /// Rich Text Format.
    Rtf,
}

impl DocumentFormat {
    /// Returns the name of the format for messages.
    pub fn name(self) -> &'static str {
        match self {
            DocumentFormat::Markdown => "Markdown",
            DocumentFormat::Html => "HTML",
            DocumentFormat::Xhtml => "XHTML",
            DocumentFormat::Pdf => "PDF",
            DocumentFormat::Docx => "Word (DOCX)",
            DocumentFormat::Pptx => "PowerPoint (PPTX)",
            DocumentFormat::Odt => "OpenDocument text (ODT)",
            DocumentFormat::Odp => "OpenDocument presentation (ODP)",
            DocumentFormat::Epub => "EPUB",
            DocumentFormat::Eml => "mail (EML)",
            DocumentFormat::ReStructuredText => "reStructuredText",
            DocumentFormat::AsciiDoc => "AsciiDoc",
            DocumentFormat::Org => "Org",
            DocumentFormat::Latex => "LaTeX",
            DocumentFormat::Notebook => "Jupyter",
            DocumentFormat::Subtitles => "subtitles",
            DocumentFormat::Xml => "XML",
            DocumentFormat::Rtf => "RTF",
        }
    }

    /// Returns whether a file may hold pictures to read: scanned pages or attachments.
    pub fn may_hold_pictures(self) -> bool {
        matches!(self, DocumentFormat::Pdf | DocumentFormat::Eml)
    }

    /// Returns whether a file may declare its encoding in its first bytes, as HTML and XML do.
    pub fn declares_encoding(self) -> bool {
        matches!(self, DocumentFormat::Html | DocumentFormat::Xhtml | DocumentFormat::Xml)
    }

    /// Returns whether this is a text format. A file in a text format must be decoded before extraction.
    pub fn is_text(self) -> bool {
        use DocumentFormat::{
            AsciiDoc, Html, Latex, Markdown, Notebook, Org, ReStructuredText, Subtitles, Xhtml, Xml,
        };
        let is_markup =
            matches!(self, Markdown | Html | Xhtml | Xml | ReStructuredText | AsciiDoc | Org | Latex);
        is_markup || matches!(self, Notebook | Subtitles)
    }
}

/// A file format with one document per row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// JSON Lines.
    Jsonl,
    /// A JSON array of objects.
    Json,
    /// Values with a header, separated by commas, semicolons, tabs or `|`.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// A mailbox of mail messages.
    Mbox,
    /// A format that a worker reads.
    Collection(CollectionFormat),
}

impl RowFormat {
    /// Returns the name of the format for messages.
    pub fn name(self) -> &'static str {
        match self {
            RowFormat::Jsonl => "JSON Lines",
            RowFormat::Json => "JSON",
            RowFormat::Csv => "CSV",
            RowFormat::Tsv => "TSV",
            RowFormat::Mbox => "mailbox",
            RowFormat::Collection(format) => format.name(),
        }
    }

    /// Returns whether a file may hold documents whose texts are in no named field.
    pub fn has_sections(self) -> bool {
        match self {
            RowFormat::Jsonl | RowFormat::Json | RowFormat::Csv | RowFormat::Tsv => false,
            RowFormat::Mbox => true,
            RowFormat::Collection(format) => format != CollectionFormat::Parquet,
        }
    }
}

/// A file format with several documents per file. A worker reads such a file, because a damaged file may crash the parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CollectionFormat {
    Parquet,
    /// Office Open XML for spreadsheets, the format of Excel.
    Xlsx,
    /// The binary form of [`CollectionFormat::Xlsx`].
    Xlsb,
    /// The format of Excel until 2003.
    Xls,
    /// OpenDocument for spreadsheets, the format of LibreOffice.
    Ods,
}

impl CollectionFormat {
    /// Returns the name of the format for messages.
    pub fn name(self) -> &'static str {
        match self {
            CollectionFormat::Parquet => "Parquet",
            CollectionFormat::Xlsx => "Excel (XLSX)",
            CollectionFormat::Xlsb => "Excel (XLSB)",
            CollectionFormat::Xls => "Excel (XLS)",
            CollectionFormat::Ods => "OpenDocument (ODS)",
        }
    }
}

/// The compression of a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
}

impl Compression {
    fn of(path: &Path) -> Option<Compression> {
        match extension(path)?.as_str() {
            "gz" => Some(Compression::Gzip),
            "zst" => Some(Compression::Zstd),
            _ => None,
        }
    }
}

/// The format and the compression that the file extension of a file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFormat {
    /// The format of the decompressed content.
    pub kind: FormatKind,
    /// The compression; `None` if the file is not compressed.
    pub compression: Option<Compression>,
}

/// The file extensions of pictures.
const PICTURES: [&str; 7] = ["png", "jpg", "jpeg", "tif", "tiff", "webp", "bmp"];

impl FileFormat {
    /// The supported file extensions, for messages.
    pub const EXTENSIONS: &str = ".txt .text .md .markdown .mdx .qmd .rmd .html .htm .xhtml .xml .rst .adoc .asciidoc .org .tex .ipynb .srt .vtt .pdf .docx .rtf .pptx .ppsx .odt .fodt .odp .epub .eml .mbox .jsonl .ndjson .json .csv .tsv (each also with .gz or .zst at the end) or .xlsx .xlsm .xlsb .xls .ods .parquet";

    /// Returns the format that the file extension names. Returns `None` for an unknown file extension.
    pub fn of(path: &Path) -> Option<FileFormat> {
        let compression = Compression::of(path);
        let inner = if compression.is_some() { path.with_extension("") } else { path.to_owned() };
        let kind = match extension(&inner)?.as_str() {
            "txt" | "text" => FormatKind::Text,
            "md" | "markdown" | "mdx" | "qmd" | "rmd" => FormatKind::Document(DocumentFormat::Markdown),
            "html" | "htm" => FormatKind::Document(DocumentFormat::Html),
            "xhtml" => FormatKind::Document(DocumentFormat::Xhtml),
            "pdf" => FormatKind::Document(DocumentFormat::Pdf),
            "docx" => FormatKind::Document(DocumentFormat::Docx),
            "pptx" | "ppsx" => FormatKind::Document(DocumentFormat::Pptx),
            "odt" | "fodt" => FormatKind::Document(DocumentFormat::Odt),
            "odp" => FormatKind::Document(DocumentFormat::Odp),
            "epub" => FormatKind::Document(DocumentFormat::Epub),
            "rtf" => FormatKind::Document(DocumentFormat::Rtf),
            "eml" => FormatKind::Document(DocumentFormat::Eml),
            "mbox" => FormatKind::Rows(RowFormat::Mbox),
            "rst" => FormatKind::Document(DocumentFormat::ReStructuredText),
            "adoc" | "asciidoc" => FormatKind::Document(DocumentFormat::AsciiDoc),
            "org" => FormatKind::Document(DocumentFormat::Org),
            "tex" => FormatKind::Document(DocumentFormat::Latex),
            "ipynb" => FormatKind::Document(DocumentFormat::Notebook),
            "srt" | "vtt" => FormatKind::Document(DocumentFormat::Subtitles),
            "xml" => FormatKind::Document(DocumentFormat::Xml),
            "jsonl" | "ndjson" => FormatKind::Rows(RowFormat::Jsonl),
            "json" => FormatKind::Rows(RowFormat::Json),
            "csv" => FormatKind::Rows(RowFormat::Csv),
            "tsv" => FormatKind::Rows(RowFormat::Tsv),
            // The reader of such a file moves in it. Therefore the file cannot be decompressed as a stream.
            inner if compression.is_none() => FormatKind::Rows(RowFormat::Collection(collection(inner)?)),
            _ => return None,
        };
        Some(FileFormat { kind, compression })
    }

    /// Returns the format of a picture. Returns `None` if the file extension does not name a picture.
    pub fn picture(path: &Path) -> Option<FileFormat> {
        let is_picture = PICTURES.contains(&extension(path)?.as_str());
        is_picture.then_some(FileFormat { kind: FormatKind::Picture, compression: None })
    }

    /// Returns the format of a file with an unknown file extension. Such a file is read as text if an `--include` pattern
    /// matches the file.
    pub fn text(path: &Path) -> FileFormat {
        FileFormat { kind: FormatKind::Text, compression: Compression::of(path) }
    }

    /// Returns a reader that decompresses `bytes`, the content of a file in this format. `expansion_max` is the maximum ratio of
    /// decompressed size to compressed size.
    ///
    /// # Errors
    /// The decompressor cannot be created.
    pub fn decompress(self, bytes: Box<dyn Read + Send>, expansion_max: u64) -> io::Result<Decompressed> {
        let consumed = Arc::new(AtomicU64::new(0));
        let file = Counted { inner: bytes, consumed: consumed.clone() };
        let inner: Box<dyn Read + Send> = match self.compression {
            None => Box::new(file),
            Some(Compression::Gzip) => Box::new(MultiGzDecoder::new(BufReader::new(file))),
            Some(Compression::Zstd) => Box::new(zstd::Decoder::new(file)?),
        };
        let compression = self.compression;
        Ok(Decompressed { inner, compression, consumed, produced: 0, expansion_max })
    }
}

/// Returns the format of files with several documents that a file extension names.
fn collection(extension: &str) -> Option<CollectionFormat> {
    Some(match extension {
        "parquet" => CollectionFormat::Parquet,
        "xlsx" | "xlsm" => CollectionFormat::Xlsx,
        "xlsb" => CollectionFormat::Xlsb,
        "xls" => CollectionFormat::Xls,
        "ods" => CollectionFormat::Ods,
        _ => return None,
    })
}

/// Returns the final file extension in lower case, without the dot, such as `gz` for `a.md.gz`.
fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_ascii_lowercase().to_string_lossy().into_owned())
}

/// A reader that counts the bytes that it reads from `inner`.
struct Counted {
    inner: Box<dyn Read + Send>,
    consumed: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.consumed.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// Maximum decompressed size, in bytes, of a file that is exempt from the limit on expansion. A small file of white space
/// may expand a thousandfold. A larger file is refused as a decompression bomb if its expansion exceeds the limit.
pub const EXPANSION_FREE_BYTES: u64 = 16 << 20;

/// A reader of the decompressed bytes of a file. Reading fails if the expansion of the file exceeds the limit.
pub struct Decompressed {
    inner: Box<dyn Read + Send>,
    compression: Option<Compression>,
    consumed: Arc<AtomicU64>,
    produced: u64,
    expansion_max: u64,
}

impl Decompressed {
    /// Returns the shared counter of the bytes that have been read from the file. The bytes are counted before
    /// decompression.
    pub fn consumed(&self) -> Arc<AtomicU64> {
        self.consumed.clone()
    }

    /// Adds the name of the compression to an error of the decompressor. Returns errors of the operating system and of
    /// object storage unchanged.
    fn damaged(&self, error: io::Error) -> io::Error {
        let (kind, library) = match self.compression {
            Some(Compression::Gzip) => ("gzip", "flate2"),
            Some(Compression::Zstd) => ("zstd", "zstd"),
            None => return error,
        };
        let is_of_store = error.get_ref().is_some_and(|error| error.is::<StoreError>());
        if is_of_store || error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        let reason = match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("it ends too early ({library}: {error})"),
            _ => format!("it is damaged or has another format ({library}: {error})"),
        };
        io::Error::other(ContentError::Damaged { kind: kind.to_owned(), reason })
    }
}

impl Read for Decompressed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(|e| self.damaged(e))?;
        self.produced += read as u64;
        let is_large = self.produced > EXPANSION_FREE_BYTES;
        if is_large && self.produced / self.expansion_max > self.consumed.load(Relaxed) {
            return Err(io::Error::other(ContentError::Expands { max: self.expansion_max }));
        }
        Ok(read)
    }
}

/// Returns the error for a wrong file extension: the file extension names the format `expected`, but the content has the
/// format `found`.
pub fn other_format(expected: DocumentFormat, found: &str) -> ContentError {
    ContentError::OtherKind { kind: expected.name().to_owned(), found: found.to_owned() }
}

/// Returns the error for a file that the parser of its format rejects.
pub fn damaged(format: DocumentFormat, reason: impl Into<String>) -> ContentError {
    ContentError::Damaged { kind: format.name().to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_follow_from_the_extension() {
        let format =
            |name: &str| FileFormat::of(Path::new(name)).map(|format| (format.kind, format.compression));
        assert_eq!(format("a.TXT"), Some((FormatKind::Text, None)));
        assert_eq!(
            format("a.b.md.gz"),
            Some((FormatKind::Document(DocumentFormat::Markdown), Some(Compression::Gzip)))
        );
        assert_eq!(
            format("a.jsonl.zst"),
            Some((FormatKind::Rows(RowFormat::Jsonl), Some(Compression::Zstd)))
        );
        let picture = |name: &str| FileFormat::picture(Path::new(name)).map(|format| format.kind);
        assert_eq!((picture("a.JPEG"), format("a.jpeg")), (Some(FormatKind::Picture), None));
        assert_eq!((picture("a.png.gz"), picture("a.pdf")), (None, None));
        assert_eq!(format("a.parquet.gz"), None);
        assert_eq!(format("a.gz"), None);
        assert_eq!(format("txt"), None);
    }
}
