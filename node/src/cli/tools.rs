//! Tools that need no node: webhook vectors and schemes, and models.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::json;
use steward_actors::domain::webhook;
use steward_actors::model::{self, Presence};
use steward_actors::vectors::verify_vectors;

use super::output::Out;
use super::{ConfigArgs, node};

#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// Runs a file of signature test vectors through the verifier
    Verify {
        #[arg(long, value_name = "FILE")]
        vectors: PathBuf,
    },
    /// Lists the signature schemes a source can have
    Schemes {
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// Unpacks models from a folder of Python packages
    Install {
        /// Folder of the packages
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        #[command(flatten)]
        to: ModelsFolder,
    },
    /// Says which models are in place; reads them whole; exits with 1 unless all are
    Status {
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        of: ModelsFolder,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct ModelsFolder {
    /// Folder of the models; the node's when it is not given
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl ModelsFolder {
    fn path(self) -> anyhow::Result<PathBuf> {
        match self.dir {
            Some(dir) => Ok(dir),
            None => Ok(node::load(&self.config)?.models_dir()),
        }
    }
}

pub(super) fn webhook(command: WebhookCommand) -> anyhow::Result<()> {
    let mut out = Out::stdout();
    match command {
        WebhookCommand::Verify { vectors } => {
            let text =
                std::fs::read_to_string(&vectors).with_context(|| format!("cannot read {}", vectors.display()))?;
            let report = verify_vectors(&text)?;
            out.line(&report)?;
            if !report.failed.is_empty() {
                bail!("{} vectors failed", report.failed.len());
            }
            Ok(())
        }
        WebhookCommand::Schemes { json } => {
            let row = |scheme: &webhook::Scheme| {
                let tolerance = scheme.tolerance().map(|limit| limit.as_secs());
                json!({"scheme": scheme.name, "provider": scheme.provider, "trust": scheme.trust, "max_age_s": tolerance})
            };
            let rows: Vec<_> = webhook::all().map(row).collect();
            out.rows(json, &rows, &["scheme", "provider", "trust", "max_age_s"])
        }
    }
}

pub(super) fn models(command: ModelsCommand) -> anyhow::Result<()> {
    let mut out = Out::stdout();
    match command {
        ModelsCommand::Install { from, to } => {
            let folder = to.path()?;
            let installed = model::install(&from, &folder)?;
            for file in &installed.written {
                out.line(format!("installed {}", folder.join(file.path).display()))?;
            }
            out.line(format!("{} installed, {} in place before", installed.written.len(), installed.kept.len()))
        }
        ModelsCommand::Status { json, of } => {
            let folder = of.path()?;
            let files = model::status(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
            let row = |(file, presence): (model::ModelFile, Presence)| {
                let presence = match presence {
                    Presence::Good => "good",
                    Presence::Absent => "absent",
                    Presence::Damaged => "damaged",
                };
                json!({"file": folder.join(file.path).display().to_string(), "bytes": file.bytes, "state": presence})
            };
            let missing = files.iter().filter(|(_, presence)| *presence != Presence::Good).count();
            let rows: Vec<_> = files.into_iter().map(row).collect();
            out.rows(json, &rows, &["file", "bytes", "state"])?;
            if missing > 0 { bail!("{missing} files are not in place") } else { Ok(()) }
        }
    }
}
