//! Reads one version of an object in blocks, and requests some blocks ahead.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta};
use tokio::task::{JoinError, JoinHandle};

use super::super::url::{Url, Version};
use super::body::{self, RangeError};
use super::bucket::{BLOCK_BYTES, BLOCKS_AHEAD, Store};
use super::errors;
use crate::error::{RequestFailure, StoreError};

type BlockRequest = JoinHandle<Result<(Vec<u8>, ObjectMeta), RangeError>>;

/// A reader of one object. After an error, every further read fails, so that no bytes are skipped.
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
    /// The error of an earlier read.
    failed: Option<StoreError>,
}

impl Reader {
    /// Requests the first block. `bytes` is the length of the object. If `version` is `None`, the reader reads the version that
    /// the first block belongs to.
    pub fn new(store: Arc<Store>, url: Arc<Url>, bytes: u64, version: Option<Version>) -> Self {
        let (block, requests) = (Bytes::new(), VecDeque::new());
        let mut reader = Reader { store, url, version, block, requests, next_offset: 0, failed: None };
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
            Ok((body::of_range(found).await?, meta))
        }));
    }

    /// Waits for the next block. Returns `false` at the end of the object.
    fn next_block(&mut self) -> io::Result<bool> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        let Some(request) = self.requests.front_mut() else { return Ok(false) };
        // An interrupt leaves the request in the queue.
        let answer = self.store.wait(request).map_err(io::Error::other)?;
        self.requests.pop_front();
        let lost = |e: JoinError| errors::of_url(&self.url, RequestFailure::Other { reason: e.to_string() });
        let answer = answer.map_err(lost).and_then(|answer| answer.map_err(|e| e.of_url(&self.url)));
        match answer.and_then(|(block, meta)| self.accept(block, &meta)) {
            Ok(()) => Ok(true),
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error.into())
            }
        }
    }

    fn accept(&mut self, block: Vec<u8>, meta: &ObjectMeta) -> Result<(), StoreError> {
        let version = self.version.get_or_insert_with(|| Version::from(meta));
        if version.etag != meta.e_tag || version.bytes != meta.size {
            return Err(errors::changed(&self.url));
        }
        self.block = block.into();
        while self.requests.len() < BLOCKS_AHEAD && self.next_offset < meta.size {
            self.request_block();
        }
        Ok(())
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
