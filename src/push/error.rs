//! The reasons why nothing is pushed, if the advice depends on them.

/// The reason why a collection cannot be brought to the state of an index.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The server does not do what a request asks for.
    #[error("the server answers {status}: {reason}")]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// The reason that the server gives.
        reason: String,
    },
    /// A delta, or a comparison, needs a collection that exists.
    #[error("there is no such collection")]
    NoCollection,
    /// The metadata of the collection does not say what its vectors are.
    #[error("was not made by this program")]
    Foreign,
    /// The server does not keep the metadata of a collection.
    #[error("cannot be made, because the server is older than Qdrant 1.16")]
    OldServer,
    /// Another run has changed the collection meanwhile.
    #[error("another run is changing it")]
    OtherRun,
    /// The vectors of the collection cannot be compared with those of the file.
    #[error("has another {what} than {file}")]
    OtherVectors {
        /// The setting that differs.
        what: &'static str,
        /// The path of the file.
        file: String,
    },
    /// This run wants vectors on disk.
    #[error("does not keep its vectors on disk")]
    NotOnDisk,
    /// This run wants 8-bit copies of the vectors.
    #[error("has no 8-bit copies of its vectors")]
    NotQuantized,
    /// The collection has another state than the delta starts from.
    #[error("does not have the state that {delta} starts from")]
    OtherState {
        /// The path of the delta.
        delta: String,
    },
    /// A comparison found differences.
    #[error("differs from {file}: {found}")]
    Different {
        /// The path of the file.
        file: String,
        /// The number and an example of each kind of difference.
        found: String,
        /// Whether a point has the digest of its row, but another content.
        is_altered: bool,
    },
    /// A kept column has the name of the key for the digest of a row.
    #[error("{file}: its column `_digest` has the name of a key that is added to each point")]
    DigestTaken {
        /// The path of the file.
        file: String,
    },
}
