//! `build`: embeds documents and writes one Parquet file of vectors.

mod execute; // runs the plan and puts the new index in place
mod lazy_model; // loads the model only when it is needed
mod plan; // makes the plan from the arguments, the model and the old index
mod report; // writes the file of --report
mod session; // locks the places of the outputs, and uploads the outputs
mod summary; // prints the lines at the end of a run

use std::sync::Arc;
use std::time::Instant;

use crate::cli::BuildArguments;
use crate::command::advice::{explained, explained_run};
use crate::command::process::{Exit, listen};
use crate::command::setup::locate::{self, DefaultGraph};
use crate::command::setup::output;
use crate::console::{LogFormat, Phase, Reporter, now};
use crate::storage::object::Stores;
use execute::execute;
use lazy_model::LazyModel;
use plan::{BuildInputs, BuildPlan};
use report::{BuildOutcome, Report, ReportFile};
use session::Session;

pub fn run(arguments: &BuildArguments, format: LogFormat) -> anyhow::Result<Exit> {
    let reporter = Arc::new(Reporter::new(arguments.quiet, format).explaining(explained));
    let started = now();
    output::check_files(
        &arguments.reading.inputs,
        &[
            ("-o", Some(&arguments.output)),
            ("--delta", arguments.delta.as_ref()),
            ("--report", arguments.report.as_ref()),
        ],
    )?;
    listen(format, "finished work is kept, and the next run resumes")?;
    let mut stores = Stores::new(arguments.reading.endpoint.as_deref(), reporter.clone());
    let report = ReportFile::open(arguments, &mut stores)?;
    let mut outcome = BuildOutcome::default();
    let result = build(arguments, &mut stores, &reporter, &mut outcome);
    reporter.finish();
    // If another run holds the lock on the output, only that other run writes the report.
    let is_held = matches!(&result, Err(e) if Exit::of(e) == Exit::Held);
    if let Some(file) = report.filter(|_| !is_held) {
        let report = Report::new(arguments, &started, &outcome, &result, &reporter);
        // A report that cannot be written does not change the exit code of the run.
        if let Err(e) = file.write(&report, &reporter) {
            reporter.warn(&explained_run(&e));
        }
    }
    result
}

fn build(
    arguments: &BuildArguments,
    stores: &mut Stores,
    reporter: &Arc<Reporter>,
    outcome: &mut BuildOutcome,
) -> anyhow::Result<Exit> {
    let documents = BuildInputs::new(arguments, stores)?;
    let mut session = Session::open(arguments, stores, reporter)?;
    let before = session.old_metadata()?;
    let model_arguments = locate::with_model_of(&arguments.model, before.as_ref())?;
    let before = before.filter(|_| !arguments.rebuild);
    let graph =
        before.as_ref().map_or(DefaultGraph::Model, |before| DefaultGraph::OldOutput(&before.model_file));
    let located = locate::open(&model_arguments, graph, reporter.format())?;
    let name = locate::name(&model_arguments, &located.model);
    let started = Instant::now();
    if session.place.is_taken() {
        reporter.enter(Phase::ReadingOldIndex);
    }
    let old = session.read_old(arguments, reporter)?;
    outcome.seconds.old_output = started.elapsed().as_secs_f64();

    let started = Instant::now();
    let mut model = LazyModel::new(arguments, located, name, before.as_ref(), reporter)?;
    outcome.seconds.model = started.elapsed().as_secs_f64();

    let plan = BuildPlan::new(arguments, documents, &model, old, before.as_ref(), reporter)?;
    outcome.fingerprint = Some(plan.metadata.fingerprint.clone());
    let exit = execute(arguments, &plan, &mut model, &mut session, reporter, outcome)?;
    // A dry run has written nothing, so the note of an earlier run stays.
    if !arguments.dry_run {
        session.close();
    }
    Ok(exit)
}
