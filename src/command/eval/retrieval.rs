//! Searches for the answers to each question, and compares the documents found with the judgments.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, anyhow};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use super::groups::{Group, Variant, groups, is_comparison, languages, setup};
use super::page::{EvalPage, Measured, QUESTIONS, Values};
use crate::cli::EvalRetrievalArguments;
use crate::command::search;
use crate::command::setup::{inputs, model};
use crate::console::{LogFormat, Phase, Reporter};
use crate::eval::{self, CorpusEntry, Judgments, Question, Rankings};
use crate::index::{COLUMNS, Metadata, Parts};
use crate::model::{Model, Preparation, prompts};
use crate::text::tokenize::{Encoding, Tokenizer};
use crate::vector::embedding::Embedding;
use crate::vector::texts::TextEmbedder;

/// The most documents per batch that is embedded and ranked. The vectors of a batch are dropped after the batch, so the
/// vectors of a whole corpus need not fit into memory.
const DOCUMENTS_TOGETHER: usize = 1024;

pub fn measure(arguments: &EvalRetrievalArguments, format: LogFormat) -> anyhow::Result<EvalPage> {
    let program = inputs::this_program()?;
    let file = |name: &str| arguments.folder.join(name);
    let judgments = eval::judgments(&file("qrels/test.tsv"), &program)?;
    let mut questions = eval::questions(&file("queries.jsonl"), &program)?;
    let corpus = match &arguments.index {
        Some(index) => Corpus::Index(Box::new(Parts::open(std::slice::from_ref(index))?)),
        None => Corpus::Texts(eval::corpus(&file("corpus.jsonl"), &program)?),
    };
    let groups = groups(&arguments.setups, arguments.instruction.as_deref(), corpus.index(), format)?;
    check_judgments(&judgments, &questions, &corpus)
        .with_context(|| file("qrels/test.tsv").display().to_string())?;

    let mut notes = Vec::new();
    let all = questions.len();
    questions.retain(|question| judgments.contains_key(&question.entry.id));
    notes.push(("questions without a judgment, left out", all - questions.len()));
    let without =
        judgments.values().filter(|judged| judged.values().all(|&relevance| relevance <= 0)).count();
    notes.push(("questions without a relevant document, counted as 0", without));
    notes.push(("documents without text, never found", corpus.empty()));
    notes.retain(|&(_, count)| count > 0);

    let mut measured = Vec::new();
    for group in groups {
        measured.extend(rank(&group, arguments.no_instruction, &questions, &corpus, &judgments, format)?);
    }
    Ok(EvalPage {
        kind: QUESTIONS,
        languages: languages(questions.iter().map(|question| question.language.as_deref())),
        ids: questions.into_iter().map(|question| question.entry.id).collect(),
        measured,
        is_comparison: is_comparison(&arguments.setups),
        notes,
    })
}

/// Checks that all questions and documents in the judgments exist, because no model can find a missing document.
fn check_judgments(judgments: &Judgments, questions: &[Question], corpus: &Corpus) -> anyhow::Result<()> {
    let ids: HashSet<String> = questions.iter().map(|question| question.entry.id.clone()).collect();
    check_ids("questions", judgments.keys(), "queries.jsonl", &ids)?;
    let documents = judgments.values().flat_map(|judged| judged.keys());
    check_ids("documents", documents, corpus.name(), &corpus.ids()?)
}

fn check_ids<'a>(
    what: &str,
    judged: impl Iterator<Item = &'a String>,
    place: &str,
    ids: &HashSet<String>,
) -> anyhow::Result<()> {
    let missing: HashSet<&String> = judged.filter(|id| !ids.contains(*id)).collect();
    let Some(first) = missing.iter().min() else { return Ok(()) };
    let count = missing.len();
    Err(anyhow!("{count} of its {what} are not in {place}, such as `{first}`; use the ids of {place}"))
}

/// The documents to search.
enum Corpus {
    Texts(Vec<CorpusEntry>),
    Index(Box<Parts>),
}

impl Corpus {
    fn name(&self) -> &'static str {
        match self {
            Corpus::Texts(_) => "corpus.jsonl",
            Corpus::Index(_) => "the index",
        }
    }

    fn ids(&self) -> anyhow::Result<HashSet<String>> {
        let parts = match self {
            Corpus::Texts(documents) => return Ok(documents.iter().map(|entry| entry.id.clone()).collect()),
            Corpus::Index(parts) => parts,
        };
        let [id, ..] = COLUMNS;
        let mut ids = HashSet::new();
        for group in parts.groups() {
            parts.read(group, &[id], |_, block| {
                ids.extend(block.documents()?.map(|(document, _)| document.to_owned()));
                Ok(())
            })?;
        }
        Ok(ids)
    }

    /// Returns the metadata of the index, if the documents are in one.
    fn index(&self) -> Option<&Metadata> {
        match self {
            Corpus::Texts(_) => None,
            Corpus::Index(parts) => Some(parts.metadata()),
        }
    }

    /// Returns the number of documents without text.
    fn empty(&self) -> usize {
        match self {
            Corpus::Texts(documents) => {
                documents.iter().filter(|entry| entry.content.text().is_empty()).count()
            }
            Corpus::Index(_) => 0,
        }
    }

    /// Returns the limit on tokens per chunk, which is the default limit of `build`. Returns 0 for an index, because the
    /// documents of an index already have vectors.
    fn max_tokens(&self, model: &Model) -> anyhow::Result<usize> {
        match self {
            Corpus::Texts(_) => {
                let max_tokens = model::max_tokens(None, model)?;
                model::check_room(&document_tokenizer(model)?, max_tokens, "--max-tokens")?;
                Ok(max_tokens)
            }
            Corpus::Index(_) => Ok(0),
        }
    }

    /// Offers all documents to all rankings.
    fn offer_to(
        &self,
        rankings: &mut [Rankings],
        model: &Model,
        embedder: TextEmbedder,
        format: LogFormat,
    ) -> anyhow::Result<()> {
        let documents = match self {
            Corpus::Texts(documents) => documents,
            Corpus::Index(parts) => {
                let [id, _, vector] = COLUMNS;
                return parts.groups().into_iter().try_for_each(|group| {
                    parts.read(group, &[id, vector], |_, block| {
                        let ids: Vec<&str> = block.documents()?.map(|(document, _)| document).collect();
                        offer(rankings, &ids, block.unit_vectors()?.view())
                    })
                });
            }
        };
        let mut embedder = embedder.with_tokenizer(document_tokenizer(model)?, self.max_tokens(model)?);
        let documents: Vec<&CorpusEntry> =
            documents.iter().filter(|entry| !entry.content.text().is_empty()).collect();
        let reporter = Reporter::new(false, format);
        reporter.enter(Phase::Embedding);
        reporter.total_bytes(documents.iter().map(|entry| entry.content.text().len() as u64).sum());
        let offered = documents
            .chunks(DOCUMENTS_TOGETHER)
            .try_for_each(|documents| offer_texts(rankings, documents, &mut embedder, &reporter));
        reporter.finish();
        offered
    }
}

fn document_tokenizer(model: &Model) -> anyhow::Result<Tokenizer> {
    model.tokenizer()?.with_prompt(&model::document_prompt(model, None)?)
}

fn offer_texts(
    rankings: &mut [Rankings],
    documents: &[&CorpusEntry],
    embedder: &mut TextEmbedder,
    reporter: &Reporter,
) -> anyhow::Result<()> {
    let preparer = embedder.preparer();
    let prepare = |entry: &&CorpusEntry| {
        let chunks = preparer.prepare(&entry.content).chunks;
        let tokens = chunks.iter().flatten().map(Encoding::len).sum();
        reporter.prepared(entry.content.text().len() as u64, tokens);
        chunks
    };
    let prepared = documents.par_iter().map(prepare).collect();
    let mut values = Vec::with_capacity(documents.len() * embedder.dim());
    for (vector, document) in embedder.embed_prepared(prepared, Some(reporter))?.into_iter().zip(documents) {
        let vector = vector.with_context(|| format!("document `{}`", document.id))?;
        values.extend(vector.into_values());
        reporter.documents_done(1);
    }
    let ids: Vec<&str> = documents.iter().map(|entry| entry.id.as_str()).collect();
    offer(rankings, &ids, ArrayView2::from_shape((ids.len(), embedder.dim()), &values)?)
}

/// Offers documents to all rankings. `vectors` has all dimensions of the documents' vectors. A ranking with fewer dimensions
/// receives truncated vectors.
fn offer(rankings: &mut [Rankings], documents: &[&str], vectors: ArrayView2<f32>) -> anyhow::Result<()> {
    for ranking in rankings {
        if ranking.dim() == vectors.ncols() {
            ranking.offer(documents, vectors);
        } else {
            ranking.offer(documents, truncate(vectors, ranking.dim())?.view());
        }
    }
    Ok(())
}

/// Returns the first `dim` dimensions of each vector, L2-normalized again.
fn truncate(vectors: ArrayView2<f32>, dim: usize) -> anyhow::Result<Array2<f32>> {
    let mut values = Vec::with_capacity(vectors.nrows() * dim);
    for vector in vectors.rows() {
        values.extend(Embedding::stored(vector.iter().copied().collect()).truncate(dim)?.into_values());
    }
    Ok(Array2::from_shape_vec((vectors.nrows(), dim), values)?)
}

/// The set-ups that share a prompt for questions.
struct Asked<'a> {
    prompt: String,
    tokenizer: Tokenizer,
    /// The number of tokens of the longest question.
    max_tokens: usize,
    variants: &'a [Variant],
}

/// Ranks the documents for each set-up of a model, and returns the metrics of each question.
fn rank(
    group: &Group,
    no_instruction: bool,
    questions: &[Question],
    corpus: &Corpus,
    judgments: &Judgments,
    format: LogFormat,
) -> anyhow::Result<Vec<Measured>> {
    let Group { arguments, model, variants } = group;
    let mut width = None;
    if let Corpus::Index(parts) = corpus {
        search::check_model(model, parts)?;
        width = Some(parts.metadata().fingerprint.dim);
    }
    let texts: Vec<String> =
        questions.iter().map(|question| question.entry.content.text().to_owned()).collect();
    let asked = by_instruction(model, variants, no_instruction, &texts)?;
    // The model is loaded only once, so the model must accept the longest text of every set-up.
    let longest = asked.iter().map(|asked| asked.max_tokens).fold(corpus.max_tokens(model)?, usize::max);
    let workload = |tokenizer: &Tokenizer| model::workload(tokenizer, longest);
    let (prompt, full) = (&asked[0].prompt, Preparation::Full);
    let (mut embedder, _) = model::load(arguments, model, prompt, full, &workload, width, format)?;
    let kind = corpus.index().map(|metadata| metadata.fingerprint.vector_type).unwrap_or_default();
    let (mut setups, mut rankings) = (Vec::new(), Vec::new());
    for Asked { prompt, tokenizer, max_tokens, variants } in asked {
        embedder = embedder.with_tokenizer(tokenizer, max_tokens);
        let vectors = search::embed(&texts, &mut embedder)?;
        for variant in variants {
            let dim = variant.dim(vectors.ncols())?;
            setups.push(setup(model, dim, kind, shown_prompt(&prompt)));
            rankings.push(Rankings::new(truncate(vectors.view(), dim)?));
        }
    }
    corpus.offer_to(&mut rankings, model, embedder, format)?;
    let measured = setups.into_iter().zip(rankings).map(|(setup, ranking)| {
        let found = questions.iter().zip(ranking.documents());
        let values = found.map(|(question, found)| metrics(&judgments[&question.entry.id], &found)).collect();
        Measured { setup, values: Values::Questions(values) }
    });
    Ok(measured.collect())
}

/// Groups the set-ups by their instruction for questions. Makes the tokenizer of each group, and counts the tokens of the
/// longest question.
fn by_instruction<'a>(
    model: &Model,
    variants: &'a [Variant],
    no_instruction: bool,
    questions: &[String],
) -> anyhow::Result<Vec<Asked<'a>>> {
    let is_same = |one: &Variant, other: &Variant| one.instruction == other.instruction;
    let groups = variants.chunk_by(is_same).map(|variants| {
        let named = variants[0].instruction.as_deref();
        let prompt = search::prompt(model, named, no_instruction && named.is_none())?;
        let (tokenizer, max_tokens) = search::tokenizer(questions, model, &prompt)?;
        Ok(Asked { prompt, tokenizer, max_tokens, variants })
    });
    groups.collect()
}

/// Returns the instruction in a prompt, or the whole prompt if it has another form. Returns `None` for an empty prompt.
fn shown_prompt(prompt: &str) -> Option<String> {
    let shown = prompts::instruction_in(prompt).unwrap_or(prompt);
    (!shown.is_empty()).then(|| shown.to_owned())
}

/// Returns the metrics of [`QUESTIONS`] for one question. `judged` maps the id of each judged document to the relevance of
/// the document. `found` lists the ids of the documents found, nearest first.
fn metrics(judged: &HashMap<String, i64>, found: &[&str]) -> [f64; 3] {
    let ranked: Vec<i64> = found.iter().map(|&document| judged.get(document).copied().unwrap_or(0)).collect();
    let judged: Vec<i64> = judged.values().copied().collect();
    [
        eval::ndcg(&ranked, &judged, eval::K),
        eval::recall(&ranked, &judged, eval::K),
        eval::reciprocal_rank(&ranked),
    ]
}
