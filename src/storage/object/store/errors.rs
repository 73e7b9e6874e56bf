//! Says why a request failed and what to do about it: object_store's errors in, [`StoreError`]s out.

use std::error::Error as StdError;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::super::url::{Scheme, Url};
use crate::error::StoreError;

/// Codes by which stores say that the bucket is missing, and not only the object.
const NO_BUCKET_CODES: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

/// Servers inside a cloud that give a machine its credentials; object_store asks them if the environment has none.
const CREDENTIAL_HOSTS: [&str; 2] = ["169.254.169.254", "metadata.google.internal"];

/// Why a request failed.
#[derive(Debug, PartialEq, Eq)]
pub enum RequestFailure {
    NoBucket,
    NoObject,
    /// `reason` is the store's code or status.
    Denied {
        reason: String,
        whole_store: bool,
    },
    /// The object is not the version that the request was for.
    Changed,
    /// A listing has a key that is not a path.
    InvalidKey(String),
    /// The environment has none, and neither has this machine.
    NoCredentials,
    Other {
        reason: String,
    },
}

impl RequestFailure {
    pub fn of(error: &Error) -> Self {
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
            // Only an answer about one object has this variant; one about a listing has not.
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

/// An answer of a store that reports an error.
///
/// object_store keeps status and body in private types, so they are parsed from its texts here, and nowhere else.
#[derive(Debug)]
struct ErrorAnswer {
    status: u16,
    /// The status in words, as in `403 Forbidden`.
    status_line: String,
    /// The store's own name for the error, from the body.
    code: Option<String>,
}

impl ErrorAnswer {
    fn parse(text: &str) -> Option<Self> {
        let (status_line, body) = match text.strip_prefix("Server returned non-2xx status code: ") {
            Some(rest) => rest.split_once(": ")?,
            // S3 may begin an answer with a success before it knows of the error.
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

/// Returns the host that a request was sent to, if this is object_store's text about a failed request.
fn host_of_request(text: &str) -> Option<String> {
    let (_method, rest) = text.strip_prefix("Error performing ")?.split_once(' ')?;
    let (_scheme, rest) = rest.split(' ').next()?.split_once("://")?;
    rest.split(['/', ':', '?']).next().map(str::to_owned)
}

/// Returns an error's source, the source of that, and so on.
fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}

/// Returns the text of the error at the bottom.
pub fn root_cause(error: &(dyn StdError + 'static)) -> String {
    sources(error).last().unwrap_or(error).to_string()
}

/// Whether the bucket is there and the object is not.
pub fn is_missing_object(error: &Error) -> bool {
    RequestFailure::of(error) == RequestFailure::NoObject
}

/// Whether the connection was cut. An error of the other kind means that `Connection` has given up.
pub fn is_cut(error: &Error) -> bool {
    let http = sources(error).find_map(|source| source.downcast_ref::<HttpError>());
    http.is_some_and(|http| http.kind() != HttpErrorKind::Unknown)
}

/// Returns what to tell the user about a failed request.
pub fn store_error(scheme: Scheme, url: &Url, error: &Error) -> StoreError {
    let variables = credential_variables(scheme);
    let (cause, affects_whole_store) = match RequestFailure::of(error) {
        RequestFailure::NoBucket => {
            ("the bucket does not exist; check its name, its region and --endpoint".to_owned(), true)
        }
        RequestFailure::NoObject => ("does not exist".to_owned(), false),
        RequestFailure::Denied { reason, whole_store } => {
            (format!("access denied ({reason}); check {variables} and their permissions"), whole_store)
        }
        RequestFailure::Changed => return changed(url),
        RequestFailure::InvalidKey(why) => (format!("{why}; rename the object"), false),
        RequestFailure::NoCredentials => (format!("no credentials; set {variables}"), true),
        RequestFailure::Other { reason } => {
            (format!("{reason}; check the network, --endpoint and {variables}"), true)
        }
    };
    StoreError { url: url.to_string(), cause, affects_whole_store }
}

/// Returns the error for an object that is not the version that the run found.
pub fn changed(url: &Url) -> StoreError {
    StoreError {
        url: url.to_string(),
        cause: "another program wrote or removed it during this run; run again".to_owned(),
        affects_whole_store: false,
    }
}

/// Returns the error for a store whose settings object_store refuses.
pub fn not_opened(url: &Url, error: &Error) -> StoreError {
    let cause = format!("{}; check {}", root_cause(error), credential_variables(url.scheme));
    StoreError { url: url.to_string(), cause, affects_whole_store: true }
}

/// Variables that credentials come from, in the names that the store's own tools use.
fn credential_variables(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::S3 => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION",
        Scheme::Google => "GOOGLE_APPLICATION_CREDENTIALS",
        Scheme::Azure => "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
    }
}
