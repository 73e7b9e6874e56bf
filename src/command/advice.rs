//! Adds advice to the errors of documents: what the user can do. The advice names command-line options.

use crate::error::{ContentError, DocumentError, FieldRole, NoVector};

/// Returns the error message of a document, followed by the advice, in one line.
pub fn explained(error: &DocumentError) -> String {
    match advice(error) {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

fn advice(error: &DocumentError) -> Option<&'static str> {
    Some(match error {
        DocumentError::Unreadable(_) => "check that it exists and that this user may read it",
        DocumentError::RestNotRead(cause) => return advice(cause),
        DocumentError::Content(error) => return of_content(error),
        DocumentError::TooSlow { .. } => "raise --max-document-seconds, or skip it with --exclude",
        DocumentError::Crashed { .. } => "it may be damaged: save it again, or skip it with --exclude",
        DocumentError::NoWorker(_) => "check the limits on processes and memory",
        DocumentError::ColumnCount { .. } => "quote values that contain the separator or a line end",
        DocumentError::LinkLoop { .. } => "remove the symlink, or run without --follow",
        DocumentError::NotUtf8 { .. } => "convert the file to UTF-8",
        DocumentError::NotText { .. } => "give it the right file extension, or skip it with --exclude",
        DocumentError::Undecodable { .. } => "name its encoding with --encoding, or save it as UTF-8",
        DocumentError::NotJson(_) => "each line must be an object like {\"id\": \"1\", \"text\": \"…\"}",
        DocumentError::FieldMissing { .. } => "name the right field with --text-field",
        DocumentError::FieldType { role: FieldRole::Id, .. } => "name another field with --id-field",
        DocumentError::FieldType { role: FieldRole::Text, .. } => "name another field with --text-field",
        DocumentError::DuplicateId { .. } => "give each document a different id",
        DocumentError::NoVector(NoVector::NotFinite) => "try an fp32 export of the model",
        DocumentError::NoVector(NoVector::OutOfMemory { .. }) => "lower --max-tokens, or free memory",
        DocumentError::Object(_) | DocumentError::Empty | DocumentError::Tokenizer(_) => return None,
    })
}

fn of_content(error: &ContentError) -> Option<&'static str> {
    Some(match error {
        ContentError::TooLarge { .. } => "raise --max-document-mib, or split it",
        ContentError::Expands { .. } => "raise --max-expansion if you trust the file",
        ContentError::Damaged { .. } => "open it and save it again, or skip it with --exclude",
        ContentError::OtherKind { .. } => "give it the right file extension, or skip it with --exclude",
        ContentError::OwnIndex => "to read its rows, name this file as an input",
        ContentError::Quotes => "write each quote inside a value twice",
        ContentError::Password => "save it without a password",
        ContentError::NoText | ContentError::NoUnicode => "run OCR on it first",
        ContentError::ColumnMissing { .. } => "name the right column with --text-field",
        ContentError::FrontMatter { .. } => "correct the front matter, or run without --keep",
    })
}
