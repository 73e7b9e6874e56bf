//! Divides documents between jobs. The job of a document depends only on the document's id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// One of N shares of all documents, written `I/N` with I from 0 to N - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Returns the I of `I/N`: the index of the shard, from 0 to N - 1.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Returns the N of `I/N`: how many shards there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Returns whether a document belongs to the shard. `id` is the digest of the document's id. The first 64 bits of the
    /// digest, read as a little-endian number, are divided by N, and the remainder is the index of the document's shard.
    pub fn has(self, id: Digest) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = *id.as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) % u64::from(self.count) == u64::from(self.index)
    }
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed =
            text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parsed {
            Some((index, count)) if index < count => Ok(Shard { index, count }),
            _ => Err("expected I/N with I below N, such as 0/4, 1/4, 2/4 and 3/4 for four shards"),
        }
    }
}

impl TryFrom<String> for Shard {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_in_one_shard_and_they_are_of_about_the_same_size() {
        let shards: Vec<Shard> = (0..7).map(|index| format!("{index}/7").parse().unwrap()).collect();
        let mut sizes = [0; 7];
        for document in 0..7000 {
            let id = Digest::of(format!("docs/{document}.txt"));
            let has: Vec<&Shard> = shards.iter().filter(|shard| shard.has(id)).collect();
            assert_eq!(has.len(), 1);
            sizes[has[0].index() as usize] += 1;
        }
        assert!(sizes.iter().all(|size| (900..1100).contains(size)), "{sizes:?}");
    }

    #[test]
    fn a_shard_is_one_of_those_that_there_are() {
        for wrong in ["", "1", "4/4", "0/0", "-1/4", "1/4/2", "a/b", "0/"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
        assert_eq!("0/1".parse::<Shard>().unwrap().to_string(), "0/1");
    }
}
