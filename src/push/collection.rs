//! A collection of Qdrant, and the steps that bring it to the state of an index.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use ureq::http::Method;
use uuid::Uuid;

use super::error::PushError;
use super::point::{DIGEST, QdrantPoint, point_id};
use super::server::QdrantServer;
use crate::console::{counted, debug};
use crate::index::{Fingerprint, FullRow, RowFile, RowPiece};
use crate::model::ModelFingerprint;

/// The key of this program's metadata in a collection.
const OURS: &str = env!("CARGO_PKG_NAME");

/// What stands between the digests of two states.
const BETWEEN: &str = "..";

/// What stands for the state before the load of a whole index. No delta can start from it.
const UNKNOWN: &str = "?";

/// The settings beside the model that all rows of a collection must share: their names in the fingerprint, and in messages.
const SHARED: [(&str, &str); 4] =
    [("dim", "dimension"), ("instruction", "instruction"), ("prompt", "prompt"), ("rows", "kind of rows")];

/// Points per page when all points are listed.
const PAGE_POINTS: usize = 256;

/// Limit on the points of a request, in bytes of JSON. A larger point is sent alone. Qdrant accepts 32 MiB by default.
const REQUEST_BYTES: usize = 8 << 20;

/// How a new collection stores its vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageOptions {
    /// Whether the vectors are on disk instead of in memory.
    pub on_disk: bool,
    /// Whether 8-bit copies of the vectors are in memory, to be searched first.
    pub quantize: bool,
}

/// What a collection's metadata says about it.
#[derive(Deserialize)]
struct CollectionMetadata {
    /// The settings that the vectors depend on.
    fingerprint: Value,
    /// The content digest of the index that the collection equals; while the collection is being changed, the digests before and
    /// after with [`BETWEEN`] between them.
    state: String,
    /// The names and types of the kept columns. Missing in collections that the script of version 0.1 made.
    #[serde(default)]
    columns: Option<Columns>,
    options: StorageOptions,
}

/// The names of the kept columns, and their types.
type Columns = BTreeMap<String, String>;

/// A request that writes points.
#[derive(Serialize)]
struct Upsert<'a> {
    points: &'a [QdrantPoint],
}

/// What has changed in a collection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pushed {
    /// The number of points that were sent.
    pub written: u64,
    /// The number of points that were deleted.
    pub deleted: u64,
}

/// A collection that this program has made.
pub struct QdrantCollection<'a> {
    server: QdrantServer<'a>,
    /// The path in the REST API.
    path: String,
    state: String,
    columns: Option<Columns>,
    options: StorageOptions,
}

/// A point as the server stores it.
#[derive(Debug, Deserialize)]
pub struct StoredPoint {
    id: Value,
    #[serde(default)]
    pub payload: Option<Map<String, Value>>,
    #[serde(default)]
    pub vector: Option<Vec<f32>>,
}

/// Which parts of points the server returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointParts {
    Digest,
    All,
}

impl<'a> QdrantCollection<'a> {
    /// Opens the collection for the rows of `file`. Makes the collection if it does not exist and `may_create` is true.
    ///
    /// # Errors
    /// [`PushError`]; the server cannot be reached.
    pub fn open(
        server: QdrantServer<'a>,
        name: &str,
        file: &RowFile,
        options: StorageOptions,
        may_create: bool,
    ) -> anyhow::Result<Self> {
        if file.keeps(DIGEST) {
            let file = file.path().display().to_string();
            bail!(PushError::DigestTaken { file });
        }
        let path = format!("/collections/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
        let mut collection = QdrantCollection { server, path, state: String::new(), columns: None, options };
        if !collection.exists()? {
            ensure!(may_create, PushError::NoCollection);
            collection.create(file)?;
        }
        let metadata = collection.metadata()?.ok_or(PushError::Foreign)?;
        if let Some(what) = difference(&metadata.fingerprint, &file.metadata().fingerprint)? {
            let file = file.path().display().to_string();
            bail!(PushError::OtherVectors { what, file });
        }
        let was_made_with = metadata.options;
        ensure!(was_made_with.on_disk || !options.on_disk, PushError::NotOnDisk);
        ensure!(was_made_with.quantize || !options.quantize, PushError::NotQuantized);
        Ok(QdrantCollection {
            state: metadata.state,
            columns: metadata.columns,
            options: was_made_with,
            ..collection
        })
    }

    fn exists(&mut self) -> anyhow::Result<bool> {
        let found: Value = self.ask("/exists")?;
        Ok(found["exists"] == true)
    }

    fn create(&mut self, file: &RowFile) -> anyhow::Result<()> {
        let dim = file.metadata().fingerprint.dim;
        let mut body = json!({
            "vectors": {"size": dim, "distance": "Cosine", "on_disk": self.options.on_disk},
            "metadata": self.new_metadata(file, ""),
        });
        if self.options.quantize {
            // Qdrant keeps the original vectors beside these.
            body["quantization_config"] = json!({"scalar": {"type": "int8", "always_ram": true}});
        }
        let created: anyhow::Result<Value> = self.send(&Method::PUT, "", &body);
        if let Err(error) = created {
            // The request may have been carried out, but its answer was lost.
            return if self.exists()? { Ok(()) } else { Err(error) };
        }
        if self.metadata()?.is_none() {
            let _: Value = self.server.call(&Method::DELETE, &self.path, None)?;
            bail!(PushError::OldServer);
        }
        Ok(())
    }

    /// Returns what the collection says about itself; `None` if this program has not made it.
    fn metadata(&mut self) -> anyhow::Result<Option<CollectionMetadata>> {
        let found: Value = self.ask("")?;
        Ok(serde_json::from_value(found["config"]["metadata"][OURS].clone()).ok())
    }

    fn new_metadata(&self, file: &RowFile, state: &str) -> Value {
        json!({OURS: {
            "fingerprint": file.metadata().fingerprint,
            "state": state,
            "columns": file.kept_types(),
            "options": self.options,
        }})
    }

    /// Makes the collection equal to an index. Calls `on_rows` with the number of rows of each piece that is done.
    ///
    /// # Errors
    /// The file cannot be read, the server cannot be reached, or another program changes the collection.
    pub fn load(&mut self, index: &RowFile, on_rows: &mut dyn FnMut(usize)) -> anyhow::Result<Pushed> {
        let rows = u64::from(index.rows());
        let mut pushed = Pushed::default();
        self.mark(index, &format!("{UNKNOWN}{BETWEEN}{}", index.content()))?;
        index.each(|piece| self.change(index, piece, &mut pushed, on_rows))?;
        let count = self.count()?;
        // Every row of the index has its point by now, so all further points have no row.
        if count > rows {
            pushed.deleted += self.delete_all_but(index)?;
        }
        let left = count.saturating_sub(pushed.deleted);
        ensure!(left == rows, "has {left} points for {rows} rows; stop what else writes to it and run again");
        self.check_alone(index)?;
        self.mark(index, index.content())?;
        Ok(pushed)
    }

    /// Applies a delta that starts from the state of the collection, or that was applied in part. Returns `None` if the delta starts
    /// from another state. Calls `on_rows` with the number of rows of each piece that is done.
    ///
    /// # Errors
    /// The file cannot be read, or the server cannot be reached.
    pub fn apply(
        &mut self,
        delta: &RowFile,
        on_rows: &mut dyn FnMut(usize),
    ) -> anyhow::Result<Option<Pushed>> {
        let (from, to) = (delta.start().unwrap_or_default(), delta.content());
        let between = format!("{from}{BETWEEN}{to}");
        let mut pushed = Pushed::default();
        // The digests of a state cover the values of the kept columns, but not their names and types.
        if self.columns.as_ref().is_some_and(|columns| *columns != delta.kept_types()) {
            debug(|| "delta: has other kept columns than the collection".to_owned());
            return Ok(None);
        }
        if self.state == to {
            return Ok(Some(pushed));
        }
        if self.state != from && self.state != between {
            debug(|| format!("delta: starts from state {from}, but the collection has state {}", self.state));
            return Ok(None);
        }
        self.mark(delta, &between)?;
        delta.each(|piece| self.change(delta, piece, &mut pushed, on_rows))?;
        self.check_alone(delta)?;
        self.mark(delta, to)?;
        Ok(Some(pushed))
    }

    /// Makes the points of some rows equal to the rows.
    fn change(
        &mut self,
        file: &RowFile,
        piece: RowPiece,
        pushed: &mut Pushed,
        on_rows: &mut dyn FnMut(usize),
    ) -> anyhow::Result<()> {
        self.check_alone(file)?;
        let count = match piece {
            RowPiece::Removed(rows) => {
                let ids: Vec<Value> = rows.iter().map(|row| point_id(row).to_string().into()).collect();
                pushed.deleted += self.delete(&ids)?;
                rows.len()
            }
            RowPiece::Present(rows) => {
                let count = rows.len();
                pushed.written += self.put(points(rows)?)?;
                count
            }
        };
        on_rows(count);
        Ok(())
    }

    /// Writes the points that the collection lacks or has with another digest. Returns how many.
    fn put(&mut self, points: Vec<QdrantPoint>) -> anyhow::Result<u64> {
        let there = self.stored(&points, PointParts::Digest)?;
        let is_there = |point: &QdrantPoint| {
            let payload = there.get(&point.id).and_then(|there| there.payload.as_ref());
            payload.and_then(|payload| payload.get(DIGEST)) == point.digest()
        };
        let missing: Vec<QdrantPoint> = points.into_iter().filter(|point| !is_there(point)).collect();
        let mut rest = &missing[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |point: &&QdrantPoint| {
                bytes += point.bytes;
                bytes <= REQUEST_BYTES
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (request, after) = rest.split_at(count);
            let sent = self.send(&Method::PUT, "/points?wait=true", &Upsert { points: request });
            let _: Value = sent.with_context(|| {
                let id = &request[0].payload["id"];
                format!("the points of {} from {id} on cannot be written", counted(count as u64, "row"))
            })?;
            rest = after;
        }
        Ok(missing.len() as u64)
    }

    /// Returns the points that the collection has under the ids of `points`.
    pub fn stored(
        &mut self,
        points: &[QdrantPoint],
        parts: PointParts,
    ) -> anyhow::Result<HashMap<Uuid, StoredPoint>> {
        let ids: Vec<Uuid> = points.iter().map(|point| point.id).collect();
        let (payload, vector) = match parts {
            PointParts::Digest => (json!([DIGEST]), false),
            PointParts::All => (json!(true), true),
        };
        let body = json!({"ids": ids, "with_payload": payload, "with_vector": vector});
        let found: Vec<StoredPoint> = self.send(&Method::POST, "/points", &body)?;
        Ok(found.into_iter().filter_map(|point| Some((uuid_of(&point.id)?, point))).collect())
    }

    fn delete(&mut self, ids: &[Value]) -> anyhow::Result<u64> {
        if !ids.is_empty() {
            let body = json!({"points": ids});
            let _: Value = self.send(&Method::POST, "/points/delete?wait=true", &body)?;
        }
        Ok(ids.len() as u64)
    }

    /// Deletes all points that belong to no row of the file. Returns how many.
    fn delete_all_but(&mut self, file: &RowFile) -> anyhow::Result<u64> {
        #[derive(Deserialize)]
        struct ScrollPage {
            points: Vec<StoredPoint>,
            next_page_offset: Option<Value>,
        }
        let mut kept = HashSet::new();
        file.each_id(|row| _ = kept.insert(point_id(row)))?;
        let (mut deleted, mut offset) = (0, None);
        loop {
            let body =
                json!({"limit": PAGE_POINTS, "offset": offset, "with_payload": false, "with_vector": false});
            let page: ScrollPage = self.send(&Method::POST, "/points/scroll", &body)?;
            let ids = page.points.into_iter().map(|point| point.id);
            let surplus = ids.filter(|id| !uuid_of(id).is_some_and(|id| kept.contains(&id)));
            deleted += self.delete(&surplus.collect::<Vec<_>>())?;
            offset = page.next_page_offset;
            if offset.is_none() {
                return Ok(deleted);
            }
        }
    }

    /// Returns the number of points.
    pub fn count(&mut self) -> anyhow::Result<u64> {
        let counted: Value = self.send(&Method::POST, "/points/count", &json!({"exact": true}))?;
        counted["count"].as_u64().context("the server did not count the points")
    }

    /// Records which index the collection equals, or between which two it is.
    fn mark(&mut self, file: &RowFile, state: &str) -> anyhow::Result<()> {
        let body = json!({"metadata": self.new_metadata(file, state)});
        let _: Value = self.send(&Method::PATCH, "", &body)?;
        state.clone_into(&mut self.state);
        Ok(())
    }

    /// Checks that no other run has changed the state since this run wrote it. If one has, the state becomes unknown, so that neither
    /// run can record that the collection equals its file.
    fn check_alone(&mut self, file: &RowFile) -> anyhow::Result<()> {
        if self.metadata()?.is_some_and(|there| there.state == self.state) {
            return Ok(());
        }
        self.mark(file, &format!("{UNKNOWN}{BETWEEN}{}", file.content()))?;
        bail!(PushError::OtherRun)
    }

    fn ask<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        self.server.call(&Method::GET, &format!("{}{path}", self.path), None)
    }

    fn send<T: DeserializeOwned>(
        &mut self,
        method: &Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = Bytes::from(serde_json::to_vec(body)?);
        self.server.call(method, &format!("{}{path}", self.path), Some(&body))
    }
}

/// Returns the setting that makes the vectors of a file another kind than those of a collection with the fingerprint `there`; `None` if
/// they are of one kind.
fn difference(there: &Value, file: &Fingerprint) -> anyhow::Result<Option<&'static str>> {
    let model: Option<ModelFingerprint> = serde_json::from_value(there["model"].clone()).ok();
    if !model.is_some_and(|model| model.is_same_model(&file.model)) {
        return Ok(Some("model"));
    }
    let file = serde_json::to_value(file)?;
    Ok(SHARED.into_iter().find(|&(name, _)| there[name] != file[name]).map(|(_, what)| what))
}

/// Returns the points of some rows.
pub fn points(rows: Vec<FullRow>) -> anyhow::Result<Vec<QdrantPoint>> {
    rows.into_iter().map(QdrantPoint::of).collect()
}

/// Returns the UUID of a point; `None` if the id is a number.
fn uuid_of(id: &Value) -> Option<Uuid> {
    id.as_str()?.parse().ok()
}
