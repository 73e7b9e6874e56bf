//! Prints the figures of set-ups: tables for people, or a JSON object for programs.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::command::terminal::write_table;
use crate::console::{HumanCount, shown};
use crate::eval::{Interval, interval, pearson, spearman};

/// The number of resamples that the bootstrap draws per interval.
const RESAMPLES: u64 = 10_000;

/// The kind of the items in a test set, and the metrics of this kind.
pub struct ItemKind {
    name: &'static str,
    metrics: &'static [Metric],
}

/// The name of a metric for people, and its name in JSON.
type Metric = (&'static str, &'static str);

pub const QUESTIONS: ItemKind = ItemKind {
    name: "questions",
    metrics: &[("nDCG@10", "ndcg_10"), ("Recall@10", "recall_10"), ("MRR", "mrr")],
};

pub const PAIRS: ItemKind =
    ItemKind { name: "pairs", metrics: &[("Spearman", "spearman"), ("Pearson", "pearson")] };

/// The result of a measurement.
pub struct EvalPage {
    pub kind: ItemKind,
    /// The id of each item.
    pub ids: Vec<String>,
    /// The indices of the items of each language. The entry with the language `None` has the indices of all items.
    pub languages: Vec<(Option<String>, Vec<usize>)>,
    pub measured: Vec<Measured>,
    /// Whether the second set-up is compared with the first.
    pub is_comparison: bool,
    /// Remarks on the test set. Each remark has the number of items that the remark is about.
    pub notes: Vec<(&'static str, usize)>,
}

/// A set-up and the values that were measured for each item.
pub struct Measured {
    pub setup: Setup,
    pub values: Values,
}

#[derive(Serialize)]
pub struct Setup {
    pub model: String,
    pub dim: usize,
    /// Bytes per vector.
    pub bytes: usize,
    pub instruction: Option<String>,
}

/// The values of the items, in the order of [`EvalPage::ids`].
pub enum Values {
    /// The metrics of [`QUESTIONS`] for each question.
    Questions(Vec<[f64; 3]>),
    Pairs {
        cosines: Vec<f64>,
        /// The known similarity of each pair, from the test set.
        scores: Arc<[f64]>,
    },
}

impl Values {
    /// Returns a metric over some of the items: the mean for questions, the correlation for pairs. Returns `None` if the
    /// correlation is undefined, such as when all scores are equal.
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

/// One metric of both set-ups, and the difference.
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
    /// The 95 % confidence interval of the difference.
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

    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        if self.is_comparison {
            self.print_comparison(out)?
        } else {
            self.print_figures(out)?
        }
        for (at, (what, count)) in self.notes.iter().enumerate() {
            let blank = if at == 0 { "\n" } else { "" };
            writeln!(out, "{blank}{what}: {}", HumanCount(*count as u64))?;
        }
        Ok(())
    }

    fn print_figures(&self, out: &mut impl Write) -> io::Result<()> {
        if let Some(Measured { setup, .. }) = self.measured.first() {
            writeln!(out, "{}\n", model(setup))?;
        }
        let mut header = vec!["dimensions", "bytes per vector", "language", self.kind.name];
        header.extend(self.kind.metrics.iter().map(|(name, _)| name));
        let mut rows = vec![header.into_iter().map(str::to_owned).collect()];
        for Measured { setup, values } in &self.measured {
            for (language, items) in &self.languages {
                let mut row = vec![number(setup.dim), number(setup.bytes)];
                row.extend([name(language.as_deref()), number(items.len())]);
                row.extend((0..self.kind.metrics.len()).map(|at| rounded(values.figure(at, items))));
                rows.push(row);
            }
        }
        write_table(out, &rows)
    }

    fn print_comparison(&self, out: &mut impl Write) -> io::Result<()> {
        for (which, Measured { setup, .. }) in ["first", "second"].into_iter().zip(&self.measured) {
            let (dim, bytes) = (number(setup.dim), number(setup.bytes));
            writeln!(out, "{which}: {}, {dim} dimensions, {bytes} bytes per vector", model(setup))?;
        }
        writeln!(out)?;
        let header = ["language", self.kind.name, "metric", "first", "second", "difference", "95 % interval"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for Difference { language, count, name: figure, one, other, difference, interval, .. } in
            self.differences()
        {
            let ends = interval.map(|Interval { low, high }| format!("{low:+.4} to {high:+.4}"));
            rows.push(vec![
                name(language),
                number(count),
                figure.to_owned(),
                rounded(one),
                rounded(other),
                difference.map_or("-".to_owned(), |difference| format!("{difference:+.4}")),
                ends.unwrap_or("-".to_owned()),
            ]);
        }
        write_table(out, &rows)
    }
}

fn model(Setup { model, instruction, .. }: &Setup) -> String {
    let instruction = instruction.as_ref().map_or("none".to_owned(), |text| format!("{text:?}"));
    format!("{}, instruction: {instruction}", shown(model))
}

fn name(language: Option<&str>) -> String {
    language.map_or("all".to_owned(), |name| shown(name).to_string())
}

fn number(count: usize) -> String {
    HumanCount(count as u64).to_string()
}

fn rounded(figure: Option<f64>) -> String {
    figure.map_or("-".to_owned(), |figure| format!("{figure:.4}"))
}
