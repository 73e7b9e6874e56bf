//! Compares a collection with an index.

use std::hash::{BuildHasher, RandomState};

use serde_json::Value;

use super::collection::{PointParts, QdrantCollection, StoredPoint, points};
use super::error::PushError;
use super::point::{DIGEST, QdrantPoint};
use crate::index::{RowFile, RowPiece};

/// How far a component may be off: Qdrant normalizes vectors again, which changes their last bits.
const ROUNDING: f32 = 1e-5;

/// How far a float of a payload may be off, in proportion to it.
const FLOAT_ROUNDING: f64 = 1e-14;

/// About how many points are compared whole. Of all others, only the digest is compared.
const SPOT_CHECKS: u32 = 1024;

/// How a point differs from its row, with the number of such points and the id of the first row.
#[derive(Default)]
struct WrongPoints {
    count: u64,
    example: String,
}

impl WrongPoints {
    fn add(&mut self, row: &QdrantPoint) {
        if self.count == 0 {
            self.example = row.payload["id"].as_str().unwrap_or_default().to_owned();
        }
        self.count += 1;
    }

    fn shown(&self, what: &str) -> Option<String> {
        (self.count > 0).then(|| format!("{} {what} ({})", self.count, self.example))
    }
}

impl QdrantCollection<'_> {
    /// Compares the number of points, the digest of each point, and the payload and the vector of about [`SPOT_CHECKS`] points. Writes
    /// nothing. Calls `on_rows` with the number of rows of each piece that is done.
    ///
    /// # Errors
    /// [`PushError::Different`]; the file cannot be read, or the server cannot be reached.
    pub fn verify(&mut self, file: &RowFile, on_rows: &mut dyn FnMut(usize)) -> anyhow::Result<()> {
        let [mut missing, mut outdated, mut altered] = [(); 3].map(|()| WrongPoints::default());
        let stride = u64::from((file.rows() / SPOT_CHECKS).max(1));
        // Another part of the points each time.
        let mut number = RandomState::new().hash_one(file.content()) % stride;
        file.each(|piece| {
            let RowPiece::Present(rows) = piece else { return Ok(()) };
            let parts = if number == 0 { PointParts::All } else { PointParts::Digest };
            number = (number + 1) % stride;
            let points = points(rows)?;
            let there = self.stored(&points, parts)?;
            for point in &points {
                match there.get(&point.id) {
                    None => missing.add(point),
                    Some(there) if digest(there) != point.digest() => outdated.add(point),
                    Some(there) if parts == PointParts::All && !is_alike(point, there) => altered.add(point),
                    Some(_) => {}
                }
            }
            on_rows(points.len());
            Ok(())
        })?;
        let surplus = self.count()?.saturating_sub(u64::from(file.rows()) - missing.count);
        let surplus = (surplus > 0).then(|| format!("{surplus} too many"));
        let named = [missing.shown("missing"), outdated.shown("outdated"), altered.shown("altered"), surplus];
        let found: Vec<String> = named.into_iter().flatten().collect();
        if found.is_empty() {
            return Ok(());
        }
        // A point with the right digest would not be written again.
        let is_altered = altered.count > 0;
        let file = file.path().display().to_string();
        Err(PushError::Different { file, found: found.join(", "), is_altered }.into())
    }
}

fn digest(there: &StoredPoint) -> Option<&Value> {
    there.payload.as_ref()?.get(DIGEST)
}

/// Returns whether a value of a payload is that of the row. Qdrant may read a float with another last digit than was written.
fn is_equal(there: &Value, own: &Value) -> bool {
    match (there.as_f64(), own.as_f64()) {
        (Some(one), Some(other)) if own.is_f64() => (one - other).abs() <= FLOAT_ROUNDING * other.abs(),
        _ => there == own,
    }
}

/// Returns whether a point equals its row.
fn is_alike(point: &QdrantPoint, there: &StoredPoint) -> bool {
    let vector = there.vector.as_deref().unwrap_or_default();
    let is_near = |(one, other): (&f32, &f32)| (one - other).abs() <= ROUNDING;
    vector.len() == point.vector.len()
        && vector.iter().zip(&point.vector).all(is_near)
        && there.payload.as_ref().is_some_and(|there| {
            there.len() == point.payload.len()
                && there
                    .iter()
                    .all(|(name, value)| point.payload.get(name).is_some_and(|own| is_equal(value, own)))
        })
}
