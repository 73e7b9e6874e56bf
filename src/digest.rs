//! Digests that identify texts, ids and token ids. Only this module, `model/fingerprint.rs` and `index` use blake3.

/// The first 128 bits of a BLAKE3 digest. The chance that any two of ten million texts have the same digest is below 1 in
/// 10^24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; Digest::BYTES]);

impl Digest {
    /// The length of a digest, in bytes.
    pub const BYTES: usize = 16;

    /// Returns the digest of a text or of other bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(bytes.as_ref());
        Digest::from(&hasher)
    }

    /// Turns the bytes from [`Digest::as_bytes`] back into the digest.
    pub fn from_bytes(bytes: [u8; Digest::BYTES]) -> Self {
        Digest(bytes)
    }

    /// Returns the bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; Digest::BYTES] {
        &self.0
    }
}

impl From<&blake3::Hasher> for Digest {
    fn from(hasher: &blake3::Hasher) -> Self {
        let mut bytes = [0; Digest::BYTES];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..Digest::BYTES]);
        Digest(bytes)
    }
}

/// Returns bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
