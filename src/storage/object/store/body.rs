//! Collects the body of an answer, up to a limit. The header `Content-Length` allocates no memory, because any number may stand
//! there.

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt};
use object_store::{Error, GetResult};

use super::super::url::Url;
use super::errors;
use crate::error::{RequestFailure, StoreError};

/// The error of a request for a range of an object.
#[derive(Debug)]
pub enum RangeError {
    Request(Error),
    /// The answer has fewer or more bytes than its header `Content-Range` says.
    WrongLength {
        announced: u64,
    },
}

impl RangeError {
    /// Returns the error with the URL of the object.
    pub fn of_url(self, url: &Url) -> StoreError {
        match self {
            RangeError::Request(e) => errors::store_error(url, &e),
            RangeError::WrongLength { announced } => {
                errors::of_url(url, RequestFailure::WrongLength { announced })
            }
        }
    }
}

impl From<Error> for RangeError {
    fn from(error: Error) -> Self {
        RangeError::Request(error)
    }
}

/// Returns the bytes of a range.
///
/// # Errors
/// The connection is cut, or the answer does not have the length of the range.
pub async fn of_range(found: GetResult) -> Result<Vec<u8>, RangeError> {
    let announced = found.range.end - found.range.start;
    let body = collect(found.into_stream(), announced).await?;
    body.filter(|body| body.len() as u64 == announced).ok_or(RangeError::WrongLength { announced })
}

/// Returns all bytes of a body, or `None` if there are more than `max`.
pub async fn collect<E>(
    mut pieces: impl Stream<Item = Result<Bytes, E>> + Unpin,
    max: u64,
) -> Result<Option<Vec<u8>>, E> {
    let mut body = Vec::new();
    while let Some(piece) = pieces.next().await {
        body.extend_from_slice(&piece?);
        if body.len() as u64 > max {
            return Ok(None);
        }
    }
    Ok(Some(body))
}
