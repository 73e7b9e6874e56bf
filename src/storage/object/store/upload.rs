//! Uploads a file to replace an object, in one request or in parts. If an object is uploaded in parts, other programs see the new
//! object only after the upload is complete. An upload fails if the object has changed since the run found it.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::stream::{FuturesOrdered, StreamExt};
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, HeaderValue, MultipartId, PutMode, PutMultipartOptions,
    PutOptions, UpdateVersion,
};

use super::super::url::{Scheme, Url, Version};
use super::super::watch::UploadWatch;
use super::bucket::{BLOCK_BYTES, BLOCKS_AHEAD, Conditions, Store};
use super::connection::Condition;
use super::errors;
use crate::digest::hex;
use crate::interrupt::Interrupted;

/// The most parts per upload: the limit of S3, which is the lowest limit of the three clouds.
const PARTS_MAX: u64 = 10_000;

/// The time limit for removing the parts of a failed upload from the store.
const ABORT_TIMEOUT: Duration = Duration::from_secs(3);

/// The attribute of an object for the digest of the uploaded file. Azure requires that the name of an attribute is an identifier.
const DIGEST: Attribute = Attribute::Metadata(Cow::Borrowed("qwen3index"));

/// A file to upload.
struct UploadSource<'a> {
    file: File,
    bytes: u64,
    /// The version of the object that the run found; `None` if there was no object.
    found: Option<&'a Version>,
    /// The BLAKE3 digest of the file, in hexadecimal.
    digest: String,
}

impl UploadSource<'_> {
    fn attributes(&self) -> Attributes {
        Attributes::from_iter([(DIGEST, self.digest.clone())])
    }
}

impl Store {
    /// Uploads a file to replace the version `found` of an object. Returns the new version.
    ///
    /// # Errors
    /// Another program wrote the object after this run found it, or the object cannot be written. After an error, the object is unchanged, unless another
    /// program wrote the object.
    pub fn upload(
        &self,
        url: &Url,
        mut file: File,
        found: Option<&Version>,
        watch: UploadWatch,
    ) -> anyhow::Result<Version> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&mut file)?;
        file.rewind()?;
        let bytes = file.metadata()?.len();
        let digest = hex(hasher.finalize().as_bytes());
        let mut source = UploadSource { file, bytes, found, digest };
        let uploaded = if bytes <= BLOCK_BYTES {
            self.upload_whole(url, &mut source)
        } else {
            self.upload_parts(url, &mut source, watch)
        };
        let etag = match uploaded {
            Ok(etag) => etag,
            // The answer may be lost although the store has stored the object. The digest shows whether the object was stored.
            Err(e) if e.is::<Interrupted>() || !self.has_digest(url, &source.digest) => return Err(e),
            Err(_) => None,
        };
        let unquoted = |etag: &Option<String>| etag.as_deref().map(|etag| etag.trim_matches('"').to_owned());
        let is_uploaded = |version: &Version| {
            version.bytes == bytes && (etag.is_none() || unquoted(&version.etag) == unquoted(&etag))
        };
        let version = self.head(url)?.filter(is_uploaded);
        version.with_context(|| {
            format!("{url}: another program replaced the object right after the upload; run again")
        })
    }

    /// Uploads a file with one put. Returns the ETag if the store sends an ETag.
    fn upload_whole(&self, url: &Url, source: &mut UploadSource) -> anyhow::Result<Option<String>> {
        let mut bytes = Vec::new();
        source.file.read_to_end(&mut bytes)?;
        let bytes = Bytes::from(bytes);
        let mut options = PutOptions::from(source.attributes());
        options.mode = match source.found {
            _ if self.conditions == Conditions::None => PutMode::Overwrite,
            None => PutMode::Create,
            Some(Version { etag, version, .. }) => {
                PutMode::Update(UpdateVersion { e_tag: etag.clone(), version: version.clone() })
            }
        };
        let key = Path::from(url);
        self.check_unchanged(url, source.found)?;
        let put = || self.objects.put_opts(&key, bytes.clone().into(), options.clone());
        self.retry(put)?.map(|put| put.e_tag).map_err(|e| self.error(url, &e).into())
    }

    /// Uploads a file in parts. Returns the ETag if the store sends an ETag.
    fn upload_parts(
        &self,
        url: &Url,
        source: &mut UploadSource,
        watch: UploadWatch,
    ) -> anyhow::Result<Option<String>> {
        let key = Path::from(url);
        let options = match self.scheme {
            // object_store cannot set attributes for an upload in parts to Azure.
            Scheme::Azure => PutMultipartOptions::default(),
            Scheme::S3 | Scheme::Google => PutMultipartOptions::from(source.attributes()),
        };
        let begin = || self.parts.create_multipart_opts(&key, options.clone());
        let id = self.retry(begin)?.map_err(|e| self.error(url, &e))?;
        let uploaded = (watch.begun)(&id)
            .and_then(|()| self.send_parts(url, &id, source, watch.sent))
            .and_then(|parts| self.complete_upload(url, &id, &parts, source.found));
        if uploaded.is_err() {
            // If the parts cannot be removed now, the next run tries again to remove the parts.
            let abort = self.parts.abort_multipart(&key, &id);
            let _ = self.runtime.block_on(async { tokio::time::timeout(ABORT_TIMEOUT, abort).await });
        }
        uploaded
    }

    fn send_parts(
        &self,
        url: &Url,
        id: &MultipartId,
        source: &mut UploadSource,
        sent: &mut dyn FnMut(u64),
    ) -> anyhow::Result<Vec<PartId>> {
        let (key, bytes) = (Path::from(url), source.bytes);
        let part_bytes = BLOCK_BYTES.max(bytes.div_ceil(PARTS_MAX));
        let mut parts: Vec<PartId> = Vec::new();
        let mut requests = FuturesOrdered::new();
        let mut offset = 0;
        loop {
            while requests.len() < BLOCKS_AHEAD && offset < bytes {
                let mut part = Vec::new();
                let count = source.file.by_ref().take(part_bytes).read_to_end(&mut part)? as u64;
                ensure!(count > 0, "{url}: the file to upload became shorter during the upload; run again");
                let number = parts.len() + requests.len();
                requests.push_back(self.parts.put_part(&key, id, number, part.into()));
                offset += count;
            }
            let Some(part) = self.wait(requests.next())? else { return Ok(parts) };
            parts.push(part.map_err(|e| self.error(url, &e))?);
            sent(bytes.min(parts.len() as u64 * part_bytes));
        }
    }

    /// Completes an upload: the store joins the parts into one object. Returns the ETag if the store sends an ETag.
    pub(super) fn complete_upload(
        &self,
        url: &Url,
        id: &MultipartId,
        parts: &[PartId],
        found: Option<&Version>,
    ) -> anyhow::Result<Option<String>> {
        let key = Path::from(url);
        self.check_unchanged(url, found)?;
        let condition = condition(found).filter(|_| self.conditions == Conditions::PutAndParts);
        if let Some(condition) = condition {
            self.connection.set_condition(id, condition);
        }
        let completed = self.retry(|| self.parts.complete_multipart(&key, id, parts.to_vec()));
        self.connection.clear_condition(id);
        completed?.map(|put| put.e_tag).map_err(|e| self.error(url, &e).into())
    }

    /// Removes the parts of an upload that was not completed.
    pub fn abort_upload(&self, url: &Url, id: &str) -> anyhow::Result<()> {
        match self.wait(self.parts.abort_multipart(&Path::from(url), &id.to_owned()))? {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.error(url, &e).into()),
        }
    }

    /// Fails if the object has changed since the run found it. If the store does not support conditions, there is no other check.
    fn check_unchanged(&self, url: &Url, found: Option<&Version>) -> anyhow::Result<()> {
        ensure!(self.head(url)?.as_ref() == found, errors::changed(url));
        Ok(())
    }

    /// Returns whether the attribute of the object contains this digest.
    fn has_digest(&self, url: &Url, digest: &str) -> bool {
        let key = Path::from(url);
        let head = GetOptions { head: true, ..GetOptions::default() };
        let found = self.wait(self.objects.get_opts(&key, head));
        found.is_ok_and(|found| {
            found.is_ok_and(|found| found.attributes.get(&DIGEST).is_some_and(|there| **there == *digest))
        })
    }
}

/// Returns the header that makes a write fail if the object has changed since the run found it; `None` if the store gave no
/// ETag.
fn condition(found: Option<&Version>) -> Option<Condition> {
    match found {
        None => Some(("if-none-match", HeaderValue::from_static("*"))),
        Some(found) => Some(("if-match", HeaderValue::from_str(found.etag.as_ref()?).ok()?)),
    }
}
