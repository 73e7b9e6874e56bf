//! What has been measured in, tables for people or an object for programs out.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::console::shown;
use crate::eval::{Interval, interval, pearson, spearman};

/// How many times items are drawn again, for an interval.
const RESAMPLES: u64 = 10_000;

/// What is averaged, or correlated.
pub struct ItemKind {
    name: &'static str,
    /// Names of its figures, for people and for programs.
    metrics: &'static [Metric],
}

type Metric = (&'static str, &'static str);

pub const QUESTIONS: ItemKind = ItemKind {
    name: "questions",
    metrics: &[("nDCG@10", "ndcg_10"), ("Recall@10", "recall_10"), ("MRR", "mrr")],
};

pub const PAIRS: ItemKind =
    ItemKind { name: "pairs", metrics: &[("Spearman", "spearman"), ("Pearson", "pearson")] };

/// All that is said.
pub struct EvalPage {
    pub kind: ItemKind,
    /// What its items are called.
    pub ids: Vec<String>,
    /// The items of each, by their place; `None` is all.
    pub languages: Vec<(Option<String>, Vec<usize>)>,
    pub measured: Vec<Measured>,
    /// Whether the second set-up is to be compared with the first.
    pub is_comparison: bool,
    /// What is to be known beside the figures, and of how many.
    pub notes: Vec<(&'static str, usize)>,
}

/// A set-up and what came of it.
pub struct Measured {
    pub setup: Setup,
    pub values: Values,
}

#[derive(Serialize)]
pub struct Setup {
    pub model: String,
    /// Numbers in a vector.
    pub dim: usize,
    /// Bytes of a vector.
    pub bytes: usize,
    pub instruction: Option<String>,
}

/// Of each item, in order.
pub enum Values {
    /// The figures of each question, as in [`QUESTIONS`].
    Questions(Vec<[f64; 3]>),
    Pairs {
        cosines: Vec<f64>,
        /// As the data has them.
        scores: Arc<[f64]>,
    },
}

impl Values {
    /// A figure of some of the items: the mean of questions, the correlation of pairs, where there is one.
    fn figure(&self, metric: usize, items: &[usize]) -> Option<f64> {
        match self {
            Values::Questions(values) => {
                Some(items.iter().map(|&at| values[at][metric]).sum::<f64>() / items.len() as f64)
            }
            Values::Pairs { cosines, scores } => {
                let of = |values: &[f64]| items.iter().map(|&at| values[at]).collect::<Vec<f64>>();
                [spearman, pearson][metric](&of(cosines), &of(scores))
            }
        }
    }
}

/// A figure of two set-ups.
#[derive(Serialize)]
struct Difference<'a> {
    language: Option<&'a str>,
    count: usize,
    #[serde(skip)]
    name: &'static str,
    metric: &'static str,
    one: Option<f64>,
    other: Option<f64>,
    difference: Option<f64>,
    /// Of the difference, with 95 % confidence.
    interval: Option<Interval>,
}

impl EvalPage {
    fn differences(&self) -> Vec<Difference<'_>> {
        let [one, other] = &self.measured[..] else { return Vec::new() };
        let mut differences = Vec::new();
        for (language, items) in self.languages.iter().filter(|_| self.is_comparison) {
            for (at, &(name, metric)) in self.kind.metrics.iter().enumerate() {
                let of =
                    |items: &[usize]| Some(other.values.figure(at, items)? - one.values.figure(at, items)?);
                differences.push(Difference {
                    language: language.as_deref(),
                    count: items.len(),
                    name,
                    metric,
                    one: one.values.figure(at, items),
                    other: other.values.figure(at, items),
                    difference: of(items),
                    interval: interval(items, RESAMPLES, of),
                });
            }
        }
        differences
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let notes = self.notes.iter().map(|(what, count)| json!({"what": what, "count": count}));
        json!({
            "setups": self.measured.iter().map(|measured| self.setup_json(measured)).collect::<Vec<_>>(),
            "differences": self.differences(),
            "notes": notes.collect::<Vec<_>>(),
        })
    }

    fn setup_json(&self, Measured { setup, values }: &Measured) -> Value {
        let named = |items: &[usize]| -> Map<String, Value> {
            let figure =
                |(at, (_, key)): (usize, &Metric)| (key.to_string(), json!(values.figure(at, items)));
            self.kind.metrics.iter().enumerate().map(figure).collect()
        };
        let figures = self.languages.iter().map(|(language, items)| {
            let mut figures = named(items);
            figures.insert("language".to_owned(), json!(language));
            figures.insert("count".to_owned(), json!(items.len()));
            figures
        });
        let each = self.ids.iter().enumerate().map(|(at, id)| match values {
            Values::Questions(_) => {
                let mut figures = named(&[at]);
                figures.insert("id".to_owned(), json!(id));
                figures.into()
            }
            Values::Pairs { cosines, scores } => {
                json!({"id": id, "cosine": cosines[at], "score": scores[at]})
            }
        });
        json!({"setup": setup, "figures": figures.collect::<Vec<_>>(), "each": each.collect::<Vec<_>>()})
    }

    /// For people.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        if self.is_comparison {
            self.print_comparison(out)?
        } else {
            self.print_figures(out)?
        }
        for (at, (what, count)) in self.notes.iter().enumerate() {
            writeln!(out, "{}{what}: {count}", if at == 0 { "\n" } else { "" })?;
        }
        Ok(())
    }

    fn print_figures(&self, out: &mut impl Write) -> io::Result<()> {
        if let Some(Measured { setup, .. }) = self.measured.first() {
            writeln!(out, "{}\n", model(setup))?;
        }
        let mut header = vec!["numbers", "bytes a vector", "language", self.kind.name];
        header.extend(self.kind.metrics.iter().map(|(name, _)| name));
        let mut rows = vec![header.into_iter().map(str::to_owned).collect()];
        for Measured { setup, values } in &self.measured {
            for (language, items) in &self.languages {
                let mut row = vec![setup.dim.to_string(), setup.bytes.to_string()];
                row.extend([name(language.as_deref()), items.len().to_string()]);
                row.extend((0..self.kind.metrics.len()).map(|at| rounded(values.figure(at, items))));
                rows.push(row);
            }
        }
        print_table(out, &rows)
    }

    fn print_comparison(&self, out: &mut impl Write) -> io::Result<()> {
        for (which, Measured { setup, .. }) in ["one", "other"].into_iter().zip(&self.measured) {
            writeln!(
                out,
                "{which}: {}, {} numbers ({} bytes) a vector",
                model(setup),
                setup.dim,
                setup.bytes
            )?;
        }
        writeln!(out)?;
        let header = ["language", self.kind.name, "", "one", "other", "difference", "95 % interval"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for Difference { language, count, name: figure, one, other, difference, interval, .. } in
            self.differences()
        {
            let ends = interval.map(|Interval { low, high }| format!("{low:+.4} to {high:+.4}"));
            rows.push(vec![
                name(language),
                count.to_string(),
                figure.to_owned(),
                rounded(one),
                rounded(other),
                difference.map_or("-".to_owned(), |difference| format!("{difference:+.4}")),
                ends.unwrap_or("-".to_owned()),
            ]);
        }
        print_table(out, &rows)
    }
}

fn model(Setup { model, instruction, .. }: &Setup) -> String {
    let instruction = instruction.as_ref().map_or("none".to_owned(), |text| format!("{text:?}"));
    format!("{}, instruction: {instruction}", shown(model))
}

fn name(language: Option<&str>) -> String {
    language.map_or("all".to_owned(), |name| shown(name).to_string())
}

fn rounded(figure: Option<f64>) -> String {
    figure.map_or("-".to_owned(), |figure| format!("{figure:.4}"))
}

/// Columns as wide as they have to be, on the right.
fn print_table(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        writeln!(out, "{}", cells.join("  "))?;
    }
    Ok(())
}
