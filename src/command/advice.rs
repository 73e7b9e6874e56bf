//! Adds advice to errors: what the user can do. The advice names command-line options. The layers below report errors as types
//! whose `Display` says what is wrong and where.

use std::borrow::Cow;
use std::error::Error;
use std::io;

use crate::console::without_secrets;
use crate::error::{
    ContentError, DocumentError, FieldRole, IgnoreFileError, NoVector, OcrError, RequestFailure, StoreError,
};
use crate::eval::{Layout, LayoutError};
use crate::index::{JoinError, TooManyRows};
use crate::interrupt::Interrupted;
use crate::model::hub::{HubError, NotARepository};
use crate::model::{BatchError, Device, DeviceError, GraphMissing};
use crate::pipeline::TooFewDocuments;
use crate::push::PushError;
use crate::source::shortened;
use crate::vector::embedder::OutOfMemory;

const INSTALL_CUDA: &str =
    "install ONNX Runtime, CUDA 13 and cuDNN 9 with `scripts/setup cuda`, or use --device cpu";

type Advice = Cow<'static, str>;

/// Returns the error message of a document, followed by the advice, in one line without secrets.
pub fn explained(error: &DocumentError) -> String {
    joined(error.to_string(), of_document(error))
}

/// Returns the message of the error that ends the run, followed by the advice, in one line without secrets.
pub fn explained_run(error: &anyhow::Error) -> String {
    // The place where a signal arrived is not at fault.
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        return interrupted.to_string();
    }
    joined(format!("{error:#}"), error.chain().find_map(of_cause))
}

fn joined(message: String, advice: Option<Advice>) -> String {
    let message = without_secrets(&message);
    match advice {
        Some(advice) => format!("{message}; {advice}"),
        None => message.into_owned(),
    }
}

/// Returns the advice for one error of a chain.
fn of_cause(cause: &(dyn Error + 'static)) -> Option<Advice> {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return of_cause(error.get_ref()?);
    }
    None.or_else(|| cause.downcast_ref().and_then(of_document))
        .or_else(|| cause.downcast_ref().and_then(of_store))
        .or_else(|| cause.downcast_ref().map(of_device))
        .or_else(|| cause.downcast_ref().map(of_missing_graph))
        .or_else(|| cause.downcast_ref().map(of_hub))
        .or_else(|| cause.downcast_ref().map(of_layout))
        .or_else(|| cause.downcast_ref().map(of_push).map(Into::into))
        .or_else(|| of_plain(cause).map(Into::into))
}

/// Returns the advice for an error that needs nothing but its type or variant.
fn of_plain(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if cause.is::<NotARepository>() {
        return Some("name another model with --model");
    }
    if cause.is::<OutOfMemory>() {
        return Some("free memory, raise --gpu-memory, use a smaller export (f16), or use --device cpu");
    }
    if cause.is::<BatchError>() {
        return Some("try another export of the model, or lower --batch-tokens and --max-tokens");
    }
    if cause.is::<TooManyRows>() {
        return Some("make several files with --shard, and search their folder instead of merging them");
    }
    if let Some(error) = cause.downcast_ref() {
        return Some(match error {
            JoinError::OtherKeptColumns { .. } => "build it again with the same --keep",
            JoinError::MissingShards { .. } => "build them with --shard, or name their files",
        });
    }
    cause.downcast_ref().map(|error| match error {
        TooFewDocuments::NoneInRoot { .. } => {
            "check that it is mounted and filled and that no .gitignore excludes it (--no-ignore), or allow this with --allow-empty (the old output is untouched)"
        }
        TooFewDocuments::NoneYet { .. } => {
            "check that it is mounted and filled, check --include, --exclude, .qwen3ignore and .gitignore (--no-ignore), or allow an empty index with --allow-empty"
        }
        TooFewDocuments::MostGone { ignored: 1.., .. } => {
            "check the inputs, read what is excluded with --no-ignore, or allow this with --allow-shrink (the old output is untouched)"
        }
        TooFewDocuments::MostGone { ignored: 0, .. } => {
            "check the inputs, or allow this with --allow-shrink (the old output is untouched)"
        }
        TooFewDocuments::FewerRows { .. } => {
            "check the inputs, put a backup of the output in its place, or allow this with --allow-shrink (the old output is untouched)"
        }
    })
}

fn of_document(error: &DocumentError) -> Option<Advice> {
    let advice = match error {
        DocumentError::Unreadable(_) => "check that it exists and that this user may read it",
        DocumentError::NotAFile { .. } => "run again",
        DocumentError::IgnoreFile(error) => of_ignore_file(error),
        DocumentError::Object(error) => return of_store(error),
        DocumentError::RestNotRead(cause) => return of_document(cause),
        DocumentError::Content(error) => return Some(of_content(error)),
        DocumentError::TooSlow { .. } => "raise --max-document-seconds, or skip it with --exclude",
        DocumentError::Crashed { .. } => "it may be damaged: save it again, or skip it with --exclude",
        DocumentError::Ocr { cause: OcrError::TooSlow { .. }, .. } => {
            "raise --max-document-seconds, or skip it with --exclude"
        }
        DocumentError::Ocr { .. } => "check the command of --ocr, or skip the document with --exclude",
        DocumentError::NoWorker(_) => "check the limits on processes and memory",
        DocumentError::ColumnCount { .. } => "quote values that contain the separator or a line end",
        DocumentError::LinkLoop { .. } => "remove the symlink, or run without --follow",
        DocumentError::NotUtf8 { .. } => "convert the file to UTF-8",
        DocumentError::NotText { .. } => "give it the right file extension, or skip it with --exclude",
        DocumentError::Undecodable { .. }
        | DocumentError::AmbiguousEncoding { .. }
        | DocumentError::UnknownEncoding => "name its encoding with --encoding, or save it as UTF-8",
        DocumentError::NotJson(_) => {
            "each line or element must be an object like {\"id\": \"1\", \"text\": \"…\"}"
        }
        DocumentError::FieldMissing { field, fields } => {
            let known = known(field, split(fields), fields);
            return Some(format!("name the right field with --text-field ({known})").into());
        }
        DocumentError::FieldType { role: FieldRole::Id, .. } => "name another field with --id-field",
        DocumentError::FieldType { role: FieldRole::Text, .. } => "name another field with --text-field",
        DocumentError::DuplicateId { .. } => "give each document a different id",
        DocumentError::TooManyTokens { .. } => "raise --max-document-tokens, or split it",
        DocumentError::NoVector(NoVector::NotFinite) => "try an fp32 export of the model",
        DocumentError::NoVector(NoVector::OutOfMemory { .. }) => "lower --max-tokens, or free memory",
        DocumentError::Empty | DocumentError::Tokenizer(_) | DocumentError::Interrupted(_) => return None,
    };
    Some(advice.into())
}

/// Returns the end of a message about a field that is not there: the most similar name and the names that are there. Returns nothing
/// if none is known, or if the field is there and has no value.
pub fn known_fields(wrong: &str, names: &[String]) -> String {
    if names.is_empty() || names.iter().any(|name| name == wrong) {
        return String::new();
    }
    format!(" ({})", known(wrong, names.iter().map(String::as_str), &shortened(names)))
}

fn known<'a>(wrong: &str, names: impl Iterator<Item = &'a str>, listed: &str) -> String {
    let question = similar(wrong, names).map_or(String::new(), |name| format!("did you mean `{name}`? "));
    format!("{question}the fields are: {listed}")
}

/// Splits a list of names with commas between them.
fn split(names: &str) -> impl Iterator<Item = &str> {
    let shown = names.strip_suffix(" more").and_then(|names| names.rsplit_once(" and "));
    shown.map_or(names, |(names, _)| names).split(", ")
}

/// Returns the name that is most similar to a wrong one, if it is similar enough.
fn similar<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The limit of clap's suggestions.
    const LEAST: f64 = 0.7;
    let similarity = |name: &str| {
        let wrong = wrong.split("` or `").map(str::to_lowercase);
        wrong.map(|wrong| strsim::jaro(&wrong, &name.to_lowercase())).fold(0.0, f64::max)
    };
    let nearest = names.max_by(|one, other| similarity(one).total_cmp(&similarity(other)));
    nearest.filter(|name| similarity(name) > LEAST)
}

fn of_ignore_file(error: &IgnoreFileError) -> &'static str {
    match error {
        IgnoreFileError::NotAFile { .. } => "replace it by a file of patterns",
        IgnoreFileError::TooLarge { .. } | IgnoreFileError::TooManyPatterns { .. } => "write fewer patterns",
        IgnoreFileError::NotUtf8 => "save it as UTF-8",
        IgnoreFileError::Line { .. } | IgnoreFileError::Patterns { .. } => "write patterns as in .gitignore",
    }
}

fn of_content(error: &ContentError) -> Advice {
    let advice = match error {
        ContentError::TooLarge { .. } => "raise --max-document-mib, or split it",
        ContentError::Expands { .. } => "raise --max-expansion if you trust the file",
        ContentError::Damaged { .. } => "open it and save it again, or skip it with --exclude",
        ContentError::OtherKind { .. } => "give it the right file extension, or skip it with --exclude",
        ContentError::OwnIndex => "to read its rows, name this file as an input",
        ContentError::NoArray => "if each line is an object, name the file .jsonl",
        ContentError::Quotes => "write each quote inside a value twice",
        ContentError::Password => "save it without a password",
        ContentError::Protected => "replace it by a copy without protection, or skip it with --exclude",
        ContentError::Encrypted { .. } => "save it decrypted, or skip it with --exclude",
        ContentError::NoText | ContentError::NoUnicode => {
            "read it with --ocr, such as --ocr \"tesseract - -\", or skip it with --exclude"
        }
        ContentError::Scripted => "open it in a browser and save the page as it is shown",
        ContentError::ColumnMissing { column, columns } => match similar(column, split(columns)) {
            Some(name) => {
                return format!("name the right column with --text-field (did you mean `{name}`?)").into();
            }
            None => "name the right column with --text-field",
        },
        ContentError::FrontMatter { .. } => "correct the front matter, or run without --keep",
    };
    advice.into()
}

fn of_store(error: &StoreError) -> Option<Advice> {
    let credentials = error.credentials;
    Some(match &error.cause {
        RequestFailure::NoBucket => "check its name, its region and --endpoint".into(),
        RequestFailure::NoObject => return None,
        RequestFailure::Denied { .. } => {
            format!("check {credentials}, and what these credentials may do").into()
        }
        RequestFailure::Changed => "run again".into(),
        RequestFailure::WrongLength { .. } => {
            "run again; if that does not help, check the store and the proxies in front of it".into()
        }
        RequestFailure::EndlessListing { .. } => {
            "check --endpoint, or name a prefix with fewer objects".into()
        }
        RequestFailure::InvalidKey(_) => "rename the object".into(),
        RequestFailure::NoCredentials => format!("set {credentials}").into(),
        RequestFailure::Settings(_) => format!("check {credentials}").into(),
        RequestFailure::Other { .. } => format!("check the network, --endpoint and {credentials}").into(),
    })
}

fn of_device(error: &DeviceError) -> Advice {
    match error {
        DeviceError::Runtime { device, .. } => installation(device).into(),
        DeviceError::Replaced { device, .. } => format!(
            "run `pip uninstall onnxruntime`, then `pip install --force-reinstall --no-deps {}`",
            device.package()
        )
        .into(),
        DeviceError::Cuda(_) => {
            format!("check that the NVIDIA driver has version 580 or newer; {INSTALL_CUDA}").into()
        }
        DeviceError::NoGpu(_) => "use --device cpu".into(),
        DeviceError::NoBfloat16 => "leave out --device".into(),
        DeviceError::NoDotProducts => "use --precision fp32 or q8".into(),
        DeviceError::NoOperator { fitting, .. } => {
            format!("use an export like those of `qwen3-index model export --precision {fitting}`").into()
        }
    }
}

/// Says how to install ONNX Runtime for a device.
fn installation(device: &Device) -> &'static str {
    match device {
        Device::Cpu => {
            "install ONNX Runtime with `scripts/setup` or `pip install --upgrade onnxruntime`, or set ORT_DYLIB_PATH to the library"
        }
        Device::OpenVino => {
            "install ONNX Runtime with `scripts/setup openvino` or `pip install --upgrade onnxruntime-openvino`, or set ORT_DYLIB_PATH to the library"
        }
        Device::Cuda(_) => INSTALL_CUDA,
    }
}

fn of_missing_graph(error: &GraphMissing) -> Advice {
    match &error.others[..] {
        [] => "name a folder with an ONNX file or with the *.safetensors of the model".into(),
        others => format!("choose one with --model-file: {}", others.join(", ")).into(),
    }
}

fn of_hub(error: &HubError) -> Advice {
    match error {
        HubError::Offline { by_environment: true, .. } => "unset HF_HUB_OFFLINE".into(),
        HubError::Offline { by_environment: false, .. } => "leave out --offline".into(),
        HubError::Unreachable { proxy_variable, .. } => format!(
            "check the network, {proxy_variable} and HF_ENDPOINT, or copy the model and name its folder with --model; a run with --offline does not ask the hub"
        )
        .into(),
    }
}

fn of_push(error: &PushError) -> &'static str {
    match error {
        PushError::Refused { status: 401 | 403, .. } => "check QDRANT_API_KEY and its rights",
        PushError::Refused { status: 413, .. } => "raise max_request_size_mb of the server",
        PushError::Refused { .. } => "check the URL and the server",
        PushError::OldServer => "update the server",
        PushError::OtherRun => "run again when that has ended",
        PushError::NoCollection => "push an index without --verify and --delta first",
        PushError::Foreign | PushError::OtherVectors { .. } => "give another --collection",
        PushError::NotOnDisk => "leave out --on-disk, or give another --collection",
        PushError::NotQuantized => "leave out --quantize, or give another --collection",
        PushError::OtherState { .. } => "name the index too, and it is compared as a whole",
        PushError::Different { is_altered: false, .. } => "push the index again, without --delta",
        PushError::Different { is_altered: true, .. } => {
            "delete the collection, and push the index again, without --delta"
        }
        PushError::DigestTaken { .. } => "build it without --keep _digest",
    }
}

fn of_layout(error: &LayoutError) -> Advice {
    match error.layout {
        Layout::Pairs => "name the columns of texts and score with --fields A,B,SCORE",
        Layout::Entries => "each line must be an object like {\"_id\": \"1\", \"text\": \"…\"}",
        Layout::Judgments => {
            "the first line must name the columns query-id, corpus-id and score, with tabs between them"
        }
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_found_behind_contexts_and_errors_of_readers() {
        let error = || StoreError {
            url: "s3://bucket/a".to_owned(),
            cause: RequestFailure::NoBucket,
            credentials: "KEY",
        };
        let advised = "the bucket does not exist; check its name, its region and --endpoint";
        let read = anyhow::Error::new(io::Error::from(error())).context("output");
        assert_eq!(explained_run(&read), format!("output: s3://bucket/a: {advised}"));
        let of_document = || DocumentError::RestNotRead(DocumentError::Object(error()).into());
        let why = "the bucket does not exist (the rest of the file is not read)";
        let advised = format!("{why}; check its name, its region and --endpoint");
        assert_eq!(explained(&of_document()), advised);
        let ended = anyhow::Error::new(of_document()).context("s3://bucket/a:2");
        assert_eq!(explained_run(&ended), format!("s3://bucket/a:2: {advised}"));
        assert_eq!(explained_run(&anyhow::anyhow!("no advice").context("here")), "here: no advice");
    }
}
