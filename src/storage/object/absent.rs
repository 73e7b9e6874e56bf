//! Replaces the module `store` in a program that was built without object storage. Opening a store always fails.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::url::{ListedObject, Url, Version};
use super::watch::UploadWatch;
use crate::console::Reporter;
use crate::error::Usage;

#[derive(Debug)]
pub enum Store {}

impl Store {
    pub fn open(url: &Url, _: Option<&str>, _: Arc<Reporter>) -> anyhow::Result<Self> {
        Err(Usage(format!(
            "{url}: this program was built without object storage; build it with the Cargo feature `object-storage`, or copy the files to a folder"
        ))
        .into())
    }

    pub fn head(&self, _: &Url) -> anyhow::Result<Option<Version>> {
        match *self {}
    }

    pub fn read_start(&self, _: &Url, _: &Version, _: usize) -> anyhow::Result<Vec<u8>> {
        match *self {}
    }

    pub fn list(&self, _: &Url) -> anyhow::Result<Vec<ListedObject>> {
        match *self {}
    }

    pub fn upload(&self, _: &Url, _: File, _: Option<&Version>, _: UploadWatch) -> anyhow::Result<Version> {
        match *self {}
    }

    pub fn abort_upload(&self, _: &Url, _: &str) -> anyhow::Result<()> {
        match *self {}
    }
}

#[derive(Debug)]
pub struct Reader(Arc<Store>);

impl Reader {
    pub fn new(store: Arc<Store>, _: Arc<Url>, _: u64, _: Option<Version>) -> Self {
        Reader(store)
    }
}

impl Read for Reader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match *self.0 {}
    }
}
