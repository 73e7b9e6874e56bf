//! Extracts the text and the attachments of mail messages (RFC 5322 and MIME). No other module uses mail-parser or charset.

use std::borrow::Cow;
use std::path::Path;

use charset::UTF_7;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{
    Address, ContentType, DateTime, Encoding, Message, MessageParser, MessagePart, MimeHeaders, PartType,
};
use memchr::memmem;

use super::attachment::Attachment;
use super::{Extracted, html};
use crate::error::ContentError;
use crate::source::decode::{Charset, declared, decode, known_format};
use crate::source::document::LeftOut;
use crate::source::fields::Record;
use crate::source::format::{DocumentFormat, FileFormat, FormatKind, damaged, other_format};
use crate::source::names::Names;
use crate::text::blocks::{BlockWriter, Structured};

/// The start of a text that is encrypted with PGP.
const PGP: &str = "-----BEGIN PGP MESSAGE-----";

/// In a text with invalid bytes, how many characters there must be for each of them.
const INVALID_RATIO: usize = 50;

/// Maximum length of the name of an attachment, in bytes. The start of a longer name is left out, so that its file extension
/// stays.
const NAME_BYTES: usize = 200;

/// Returns the subject as a heading, the text of the message, what its header says, and its attachments of supported formats.
/// Pictures are among them if `wants_pictures` is true.
///
/// If the message has its text in several forms, the plain text is preferred to HTML. Quoted replies and signatures are kept.
///
/// # Errors
/// The content is not a message, or the message is encrypted.
pub fn mail(bytes: &[u8], wants_fields: bool, wants_pictures: bool) -> Result<Extracted, ContentError> {
    if let Some(found) = known_format(bytes) {
        return Err(other_format(DocumentFormat::Eml, found));
    }
    let bytes = with_readable_header(bytes);
    let message = MessageParser::default().parse(&*bytes).filter(is_message);
    let message = message.ok_or_else(|| damaged(DocumentFormat::Eml, "it has no header of a message"))?;
    let mut text = BlockWriter::default();
    if let Some(subject) = message.subject().filter(|subject| !subject.trim().is_empty()) {
        text.heading(1);
        text.push_str(&subject.replace(char::REPLACEMENT_CHARACTER, ""));
        text.end();
    }
    let body = body(&message)?;
    if body.text().trim().is_empty() {
        refuse_sealed(&message)?;
    } else if body.text().trim_start().starts_with(PGP) {
        return Err(encrypted("PGP"));
    }
    text.append(&body);
    let fields = if wants_fields { fields(&message) } else { Record::new() };
    let (attachments, unread) = attachments(&message, wants_pictures);
    Ok(Extracted { content: text.finish(), fields, attachments, unread, ..Extracted::default() })
}

/// Returns the text of a web page that is stored as a message with its pictures (MHTML).
///
/// # Errors
/// The content is not a message.
pub fn web_archive(bytes: &[u8]) -> Result<Structured, ContentError> {
    let message = MessageParser::default().parse(bytes);
    body(&message.ok_or_else(|| damaged(DocumentFormat::Eml, "it has no header of a message"))?)
}

/// Returns the message with a header in UTF-8. A header may be in the encoding of the body, against the rules.
fn with_readable_header(bytes: &[u8]) -> Cow<'_, [u8]> {
    let ends = [&b"\n\n"[..], b"\r\n\r\n"].map(|end| memmem::find(bytes, end).unwrap_or(bytes.len()));
    let (header, rest) = bytes.split_at(ends[0].min(ends[1]));
    if std::str::from_utf8(header).is_ok() {
        return bytes.into();
    }
    match decode(header.to_vec(), None, declared(header)) {
        Ok(decoded) => [decoded.text.as_bytes(), rest].concat().into(),
        Err(_) => bytes.into(),
    }
}

/// Returns whether a header has one of the fields that nearly every message has. The parser takes any bytes for a message.
fn is_message(message: &Message) -> bool {
    message.from().is_some()
        || message.to().is_some()
        || message.date().is_some()
        || message.subject().is_some()
        || message.message_id().is_some()
        || message.received().is_some()
        || message.content_type().is_some()
}

/// Returns an error if a message without text has its text in a part that only its receiver can read.
fn refuse_sealed(message: &Message) -> Result<(), ContentError> {
    for kind in message.parts.iter().filter_map(MimeHeaders::content_type) {
        match (kind.ctype(), kind.subtype().unwrap_or_default()) {
            ("multipart", "encrypted") => return Err(encrypted("PGP")),
            ("application", "pkcs7-mime" | "x-pkcs7-mime") => {
                return Err(match kind.attribute("smime-type") {
                    Some("signed-data") => {
                        damaged(DocumentFormat::Eml, "its text is inside of an S/MIME signature")
                    }
                    _ => encrypted("S/MIME"),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn encrypted(with: &str) -> ContentError {
    ContentError::Encrypted { with: with.to_owned() }
}

/// Returns the text that a person reads first.
fn body(message: &Message) -> Result<Structured, ContentError> {
    let cut: Vec<u32> =
        (0..).zip(&message.parts).filter(|(_, part)| is_cut(part)).map(|(id, _)| id).collect();
    for parts in [&message.text_body, &message.html_body, &cut] {
        let text = bodies(message, parts)?;
        if !text.text().trim().is_empty() {
            return Ok(text);
        }
    }
    Ok(Structured::default())
}

/// Returns whether a part is the text of a message that is cut off. The parser takes such a part for an attachment.
fn is_cut(part: &MessagePart) -> bool {
    part.is_encoding_problem && part.attachment_name().is_none()
}

/// Returns the text of several parts.
fn bodies(message: &Message, parts: &[u32]) -> Result<Structured, ContentError> {
    let mut text = BlockWriter::default();
    for part in parts.iter().filter_map(|&part| message.part(part)) {
        match &part.body {
            PartType::Html(parsed) => text.append(&html_text(&decoded(message, part, parsed)?)),
            PartType::Text(parsed) => {
                let plain = flowed(decoded(message, part, parsed)?, part.content_type());
                text.append(&Structured::plain(plain));
            }
            _ => {}
        }
    }
    Ok(text.finish())
}

/// Returns the text of the HTML in a message. All of it is content, as a message has no menus.
fn html_text(source: &str) -> Structured {
    html::fragment(source)
}

/// Decodes the text of a part. `parsed` is the text that the parser decoded. It knows only the encoding that the part names, and
/// replaces invalid bytes.
///
/// # Errors
/// The encoding is neither named rightly nor detected. A few invalid bytes are left out instead, as many messages have some.
fn decoded(message: &Message, part: &MessagePart, parsed: &str) -> Result<String, ContentError> {
    let bytes = raw(message, part);
    let label = charset_label(part).map(str::as_bytes);
    let known = label.map(Charset::for_label);
    let parsed = match &bytes {
        Some(bytes) if label.and_then(charset::Charset::for_label) == Some(UTF_7) => {
            Cow::Owned(UTF_7.decode(bytes).0.into_owned())
        }
        _ => Cow::Borrowed(parsed),
    };
    // The parser knows more names of encodings than `Charset` does. What it does not know, it reads as UTF-8.
    let only_parser_knows = |bytes: &[u8]| known == Some(None) && String::from_utf8_lossy(bytes) != parsed;
    let text = bytes.filter(|bytes| !only_parser_knows(bytes)).and_then(|bytes| {
        let charset = known.flatten().or_else(|| declared(&bytes));
        decode(bytes, None, charset).ok()
    });
    if let Some(decoded) = text {
        return Ok(decoded.text);
    }
    let replaced = parsed.matches(char::REPLACEMENT_CHARACTER).count();
    if replaced * INVALID_RATIO > parsed.chars().count() {
        return Err(damaged(DocumentFormat::Eml, "its text is not in the encoding that it names"));
    }
    Ok(parsed.replace(char::REPLACEMENT_CHARACTER, ""))
}

/// Returns the bytes of a part before their encoding is known.
fn raw(message: &Message, part: &MessagePart) -> Option<Vec<u8>> {
    let bytes = message.raw_message().get(part.offset_body as usize..part.offset_end as usize)?;
    match part.encoding {
        Encoding::None => Some(bytes.to_vec()),
        Encoding::Base64 => base64_decode(bytes),
        Encoding::QuotedPrintable => quoted_printable_decode(bytes),
    }
}

/// Returns the name of the encoding that a part is in.
fn charset_label<'a>(part: &'a MessagePart) -> Option<&'a str> {
    part.content_type()?.attribute("charset")
}

/// Joins lines that the sender's program has broken inside of words (`DelSp` of RFC 3676), as in Japanese.
fn flowed(text: String, kind: Option<&ContentType>) -> String {
    let is = |name, value| {
        kind.and_then(|kind| kind.attribute(name)).is_some_and(|found| found.eq_ignore_ascii_case(value))
    };
    if is("format", "flowed") && is("delsp", "yes") {
        text.replace("\r\n", "\n").replace(" \n", "")
    } else {
        text
    }
}

fn fields(message: &Message) -> Record {
    let from = message.from().map(addresses);
    let values = [
        ("title", message.subject().map(str::to_owned)),
        ("subject", message.subject().map(str::to_owned)),
        ("author", from.clone()),
        ("from", from),
        ("to", message.to().map(addresses)),
        ("date", message.date().map(DateTime::to_rfc3339)),
    ];
    let known = values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    known.collect()
}

/// Returns addresses with their names, separated by commas.
fn addresses(of: &Address) -> String {
    let each = of.iter().filter_map(|one| match (one.name(), one.address()) {
        (Some(name), Some(address)) => Some(format!("{name} <{address}>")),
        (one, other) => one.or(other).map(str::to_owned),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Returns the attachments of supported formats, and notes the others. Formats of rows are not read, because nobody named
/// the fields of their texts.
fn attachments(message: &Message, wants_pictures: bool) -> (Vec<Attachment>, Vec<LeftOut>) {
    let mut attachments = Vec::new();
    let mut unread = Vec::new();
    let mut names = Names::default();
    for (number, part) in (1..).zip(message.attachments()).filter(|(_, part)| !is_cut(part)) {
        let Some(name) = file_name(part, number, wants_pictures) else {
            unread.push(LeftOut::Attachment);
            continue;
        };
        let content = match &part.body {
            PartType::Text(parsed) | PartType::Html(parsed) => {
                let decoded = charset_label(part).and_then(|_| decoded(message, part, parsed).ok());
                match decoded {
                    Some(text) => format!("\u{FEFF}{text}").into_bytes(),
                    // The attachment is read as a file, and may fail without the message.
                    None => raw(message, part).unwrap_or_default(),
                }
            }
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => bytes.to_vec(),
            // The parser keeps the bytes of the outer message if the inner one is not encoded.
            PartType::Message(_) if part.encoding == Encoding::None => raw(message, part).unwrap_or_default(),
            PartType::Message(inner) => inner.raw_message().to_vec(),
            PartType::Multipart(_) => continue,
        };
        let (stem, extension) = name.split_at(name.rfind('.').unwrap_or(name.len()));
        attachments.push(Attachment { name: names.unique(stem, extension), content });
    }
    (attachments, unread)
}

/// Returns the name of an attachment without folders. A name without the right file extension gets that of the media type.
/// Returns `None` if the attachment is not read.
fn file_name(part: &MessagePart, number: u32, wants_pictures: bool) -> Option<String> {
    let given = part.attachment_name().unwrap_or_default();
    let given = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = match &part.body {
        PartType::Message(inner) if given.is_empty() => inner.subject().unwrap_or_default(),
        _ => given,
    };
    let mut name: String = name.chars().filter(|c| !c.is_control() && *c != '/').collect();
    name = name.split_off(name.ceil_char_boundary(name.len().saturating_sub(NAME_BYTES)));
    // A picture that is shown inside of the text is often a logo.
    let is_attached = part.content_disposition().is_some_and(ContentType::is_attachment);
    let wants_pictures = wants_pictures && is_attached;
    let has_extension = match &part.body {
        PartType::Message(_) => name.to_ascii_lowercase().ends_with(".eml"),
        _ => is_read(Path::new(&name), wants_pictures),
    };
    if has_extension {
        return Some(name);
    }
    let extension = match &part.body {
        PartType::Message(_) => "eml",
        _ => {
            let kind = part.content_type()?;
            extension(kind).or_else(|| picture_extension(kind).filter(|_| wants_pictures))?
        }
    };
    match name.trim() {
        "" => Some(format!("attachment {number}.{extension}")),
        name => Some(format!("{name}.{extension}")),
    }
}

/// Returns whether a file with this name is a document or holds documents without fields.
fn is_read(name: &Path, wants_pictures: bool) -> bool {
    let format = FileFormat::of(name).or_else(|| FileFormat::picture(name));
    format.is_some_and(|format| match format.kind {
        FormatKind::Text | FormatKind::Document(_) => true,
        FormatKind::Picture => wants_pictures,
        FormatKind::Rows(rows) => rows.has_sections(),
    })
}

/// Returns the file extension for a media type.
fn extension(kind: &ContentType) -> Option<&'static str> {
    Some(match (kind.ctype(), kind.subtype()?) {
        ("text", "plain") => "txt",
        ("text", "html") => "html",
        ("text", "markdown") => "md",
        ("application", "pdf") => "pdf",
        ("application", "vnd.openxmlformats-officedocument.wordprocessingml.document") => "docx",
        _ => return None,
    })
}

fn picture_extension(kind: &ContentType) -> Option<&'static str> {
    match (kind.ctype(), kind.subtype()?) {
        ("image", "png") => Some("png"),
        ("image", "jpeg") => Some("jpg"),
        ("image", "tiff") => Some("tif"),
        _ => None,
    }
}
