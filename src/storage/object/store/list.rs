//! Lists the objects below a prefix, page by page. A listing that does not end is an error.

use std::collections::HashSet;

use object_store::ObjectMeta;
use object_store::list::{PaginatedListOptions, PaginatedListResult};

use super::super::url::{ListedObject, Url};
use super::bucket::Store;
use super::errors;
use crate::digest::Digest;
use crate::error::RequestFailure;

/// The most objects per listing. The list takes about 75 bytes of memory per object.
const OBJECTS_MAX: usize = 50_000_000;

/// The most consecutive pages without an object. Stores send some empty pages where many objects were deleted.
const EMPTY_PAGES_MAX: usize = 1000;

impl Store {
    /// Returns all objects below a prefix, in the store's order.
    ///
    /// # Errors
    /// The store cannot be reached or denies access, or the listing does not end.
    pub fn list(&self, url: &Url) -> anyhow::Result<Vec<ListedObject>> {
        let prefix = (!url.key.is_empty()).then(|| format!("{}/", url.key));
        let (mut listed, mut pages, mut page_token) = (Vec::new(), Pages::default(), None);
        loop {
            let options = || PaginatedListOptions { page_token: page_token.clone(), ..Default::default() };
            let page = || self.pages.list_paginated(prefix.as_deref(), options());
            let page = self.retry(page)?.map_err(|e| self.error(url, &e))?;
            pages.check(&page, listed.len()).map_err(|e| errors::of_url(url, e))?;
            listed
                .extend(page.result.objects.iter().filter_map(|meta| listed_object(meta, prefix.as_deref())));
            page_token = page.page_token.filter(|token| !token.is_empty());
            if page_token.is_none() {
                return Ok(listed);
            }
        }
    }
}

/// Returns an object with its key below the prefix; `None` for an object whose key is the prefix.
fn listed_object(meta: &ObjectMeta, prefix: Option<&str>) -> Option<ListedObject> {
    let key = meta.location.as_ref().strip_prefix(prefix.unwrap_or_default())?;
    (!key.is_empty()).then(|| ListedObject { key: key.into(), bytes: meta.size })
}

/// The pages of a listing so far.
#[derive(Default)]
struct Pages {
    /// The first key of each page, and the token of each page that follows.
    seen: HashSet<Digest>,
    /// Consecutive pages without an object, up to the latest page.
    empty: usize,
}

impl Pages {
    /// Fails if the listing probably does not end. `listed` is the number of objects before this page.
    fn check(&mut self, page: &PaginatedListResult, listed: usize) -> Result<(), RequestFailure> {
        let endless = |reason: String| Err(RequestFailure::EndlessListing { reason });
        let first = page.result.objects.first().map(|meta| Digest::of(format!("key {}", meta.location)));
        let next = page.page_token.as_ref().map(|token| Digest::of(format!("token {token}")));
        if first.into_iter().chain(next).any(|digest| !self.seen.insert(digest)) {
            return endless("the same page comes twice".to_owned());
        }
        self.empty = if page.result.objects.is_empty() { self.empty + 1 } else { 0 };
        if self.empty > EMPTY_PAGES_MAX {
            return endless(format!("{EMPTY_PAGES_MAX} pages have no objects"));
        }
        if listed + page.result.objects.len() > OBJECTS_MAX {
            return endless(format!("there are more than {OBJECTS_MAX} objects"));
        }
        Ok(())
    }
}
