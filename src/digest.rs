//! What a text is recognised by (with `model/fingerprint.rs` and `index`, the user of blake3).

/// The first 128 bits of a BLAKE3 digest. Of ten million texts, two have the same with a chance of 1 in 10^24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; Digest::BYTES]);

impl Digest {
    /// Its length.
    pub const BYTES: usize = 16;

    /// Of a text, or of anything else.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(bytes.as_ref());
        Digest::from(&hasher)
    }

    /// As it was stored.
    pub fn from_bytes(bytes: [u8; Digest::BYTES]) -> Self {
        Digest(bytes)
    }

    /// To be stored.
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

/// As people write digests, whatever made them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
