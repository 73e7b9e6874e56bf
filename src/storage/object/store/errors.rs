//! Turns the errors of object_store into [`StoreError`]s, which say why a request failed.

use std::error::Error as StdError;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::super::url::{Scheme, Url};
use crate::error::{RequestFailure, StoreError};

/// The error codes with which the stores report a missing bucket.
const NO_BUCKET_CODES: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

/// The servers inside a cloud that give a machine its credentials. If the environment has no credentials, object_store requests
/// them from these servers.
const CREDENTIAL_HOSTS: [&str; 2] = ["169.254.169.254", "metadata.google.internal"];

impl RequestFailure {
    pub(super) fn of(error: &Error) -> Self {
        let answer = sources(error).find_map(|source| ErrorAnswer::parse(&source.to_string()));
        let host = sources(error).find_map(|source| host_of_request(&source.to_string()));
        if host.is_some_and(|host| CREDENTIAL_HOSTS.contains(&&*host)) {
            return RequestFailure::NoCredentials;
        }
        let code = answer.as_ref().and_then(|answer| answer.code.as_deref());
        if code.is_some_and(|code| NO_BUCKET_CODES.contains(&code)) {
            return RequestFailure::NoBucket;
        }
        match error {
            Error::NotFound { .. } => return RequestFailure::NoObject,
            Error::Precondition { .. } | Error::AlreadyExists { .. } => return RequestFailure::Changed,
            Error::InvalidPath { source } => return RequestFailure::InvalidKey(source.to_string()),
            _ => {}
        }
        let reason = answer.as_ref().map_or_else(|| root_cause(error), ErrorAnswer::reason);
        match answer.map(|answer| answer.status) {
            // object_store uses the variant `PermissionDenied` for requests for one object, but not for listings.
            Some(401 | 403) => RequestFailure::Denied {
                reason,
                whole_store: !matches!(error, Error::PermissionDenied { .. }),
            },
            // The object has become shorter than the range that was requested.
            Some(416) => RequestFailure::Changed,
            _ => RequestFailure::Other { reason },
        }
    }
}

/// An answer in which a store reports an error.
///
/// object_store keeps the status and the body in private types, so this code parses both from the text of the error.
#[derive(Debug)]
struct ErrorAnswer {
    status: u16,
    /// The status line, as in `403 Forbidden`.
    status_line: String,
    /// The error code of the store, from the body.
    code: Option<String>,
}

impl ErrorAnswer {
    fn parse(text: &str) -> Option<Self> {
        let (status_line, body) = match text.strip_prefix("Server returned non-2xx status code: ") {
            Some(rest) => rest.split_once(": ")?,
            // S3 may start an answer with a success status before the error occurs.
            None => ("200 OK", text.strip_prefix("Server returned error response: ")?),
        };
        let status = status_line.split(' ').next()?.parse().ok()?;
        let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        let code = code.map(|(code, _)| code.to_owned());
        Some(ErrorAnswer { status, status_line: status_line.to_owned(), code })
    }

    fn reason(&self) -> String {
        self.code.clone().unwrap_or_else(|| format!("the store answered {}", self.status_line))
    }
}

/// Returns the host that a failed request was sent to, if `text` is object_store's message about a failed request.
fn host_of_request(text: &str) -> Option<String> {
    let (_method, rest) = text.strip_prefix("Error performing ")?.split_once(' ')?;
    let (_scheme, rest) = rest.split(' ').next()?.split_once("://")?;
    rest.split(['/', ':', '?']).next().map(str::to_owned)
}

/// Returns the chain of sources of an error, from the direct source to the root cause.
fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}

/// Returns the text of the root cause, which is at the end of the chain of sources.
pub fn root_cause(error: &(dyn StdError + 'static)) -> String {
    sources(error).last().unwrap_or(error).to_string()
}

/// Returns whether an error means that the bucket exists but the object does not.
pub fn is_missing_object(error: &Error) -> bool {
    RequestFailure::of(error) == RequestFailure::NoObject
}

/// Returns whether an error means that the connection was cut. An HTTP error of the kind `Unknown` means instead that
/// `Connection` has given up.
pub fn is_cut(error: &Error) -> bool {
    let http = sources(error).find_map(|source| source.downcast_ref::<HttpError>());
    http.is_some_and(|http| http.kind() != HttpErrorKind::Unknown)
}

/// Returns the error of a failed request.
pub fn store_error(url: &Url, error: &Error) -> StoreError {
    of_url(url, RequestFailure::of(error))
}

/// Returns the error for an object that has changed since the run found it.
pub fn changed(url: &Url) -> StoreError {
    of_url(url, RequestFailure::Changed)
}

/// Returns the error for settings that object_store refuses.
pub fn not_opened(url: &Url, error: &Error) -> StoreError {
    of_url(url, RequestFailure::Settings(root_cause(error)))
}

/// Returns the error with the URL of an object or a prefix.
pub fn of_url(url: &Url, cause: RequestFailure) -> StoreError {
    StoreError { url: url.to_string(), cause, credentials: credential_variables(url.scheme) }
}

/// Returns the environment variables with the credentials of a store. The store's own tools use the same names.
fn credential_variables(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::S3 => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION",
        Scheme::Google => "GOOGLE_APPLICATION_CREDENTIALS",
        Scheme::Azure => "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
    }
}
