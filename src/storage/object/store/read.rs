//! Reads one version of an object in blocks, and requests some blocks ahead.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta};
use tokio::task::JoinHandle;

use super::super::url::{Url, Version};
use super::bucket::{BLOCK_BYTES, BLOCKS_AHEAD, Store};
use super::errors;

type BlockRequest = JoinHandle<object_store::Result<(Bytes, ObjectMeta)>>;

/// A reader of one object.
#[derive(Debug)]
pub struct Reader {
    store: Arc<Store>,
    url: Arc<Url>,
    /// The version of the object to read; `None` if the caller gave no version and the first block has not arrived yet.
    version: Option<Version>,
    /// The unread rest of the current block.
    block: Bytes,
    requests: VecDeque<BlockRequest>,
    /// The offset of the next block to request, in bytes.
    next_offset: u64,
}

impl Reader {
    /// Requests the first block. `bytes` is the length of the object. If `version` is `None`, the reader reads the version that
    /// the first block belongs to.
    pub fn new(store: Arc<Store>, url: Arc<Url>, bytes: u64, version: Option<Version>) -> Self {
        let mut reader =
            Reader { store, url, version, block: Bytes::new(), requests: VecDeque::new(), next_offset: 0 };
        // An empty object has no range to request.
        if bytes > 0 {
            reader.request_block();
        }
        reader
    }

    fn request_block(&mut self) {
        let options = GetOptions {
            range: Some(GetRange::Bounded(self.next_offset..self.next_offset + BLOCK_BYTES)),
            if_match: self.version.as_ref().and_then(|version| version.etag.clone()),
            ..GetOptions::default()
        };
        self.next_offset += BLOCK_BYTES;
        let (objects, slots, key) =
            (self.store.objects.clone(), self.store.request_slots.clone(), Path::from(&*self.url));
        self.requests.push_back(self.store.runtime.spawn(async move {
            // `acquire` fails only if the semaphore is closed, and no code closes the semaphore.
            let _slot = slots.acquire().await.ok();
            let found = objects.get_opts(&key, options).await?;
            let meta = found.meta.clone();
            Ok((found.bytes().await?, meta))
        }));
    }

    /// Waits for the next block. Returns `false` at the end of the object.
    fn next_block(&mut self) -> io::Result<bool> {
        let Some(request) = self.requests.pop_front() else { return Ok(false) };
        let answer = self.store.wait(request).map_err(io::Error::other)?.map_err(io::Error::other)?;
        let (block, meta) = answer.map_err(|e| self.store.error(&self.url, &e))?;
        let version = self.version.get_or_insert_with(|| Version::from(&meta));
        if version.etag != meta.e_tag {
            return Err(errors::changed(&self.url).into());
        }
        self.block = block;
        while self.requests.len() < BLOCKS_AHEAD && self.next_offset < meta.size {
            self.request_block();
        }
        Ok(true)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.block.len());
        self.block.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
