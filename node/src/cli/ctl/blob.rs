//! `ctl blob`: brings files, fetches blobs, and makes links to them.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use steward_proto::blob::v1::upload_blob_request::Part;
use steward_proto::blob::v1::{self as pb, UploadBegin};
use steward_proto::job::v1::ReadBlobRequest;
use tokio::time::sleep;
use tonic::{Code, Status};

use super::client::Client;

/// Bytes of one message.
const CHUNK_BYTES: usize = 128 * 1024;
/// How often in a row an upload that breaks off is tried without a byte more.
const TRIES_MAX: u32 = 6;
/// The first wait before another try; it doubles each time.
const BACK_OFF_MIN: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub(super) enum BlobCommand {
    /// Brings a file, and goes on where it was when the connection breaks
    Put {
        account: String,
        file: PathBuf,
        /// Such as video/mp4
        #[arg(long, default_value = "")]
        content_type: String,
        /// Goes on with an upload of this file that was given up
        #[arg(long, default_value = "", value_name = "UPLOAD")]
        resume: String,
    },
    /// Writes a blob's bytes to a file, or to stdout
    Get {
        account: String,
        hash: String,
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Makes a path that opens a blob without a key until its time is over
    Link {
        account: String,
        hash: String,
        /// At most 7 days
        #[arg(long, default_value = "1h", value_name = "TIME", value_parser = humantime::parse_duration)]
        ttl: Duration,
    },
}

pub(super) async fn run(client: &mut Client, command: BlobCommand) -> anyhow::Result<()> {
    match command {
        BlobCommand::Put { account, file, content_type, resume } => {
            put(client, &account, &file, content_type, resume).await
        }
        BlobCommand::Get { account, hash, output } => get(client, account, hash, output).await,
        BlobCommand::Link { account, hash, ttl } => {
            let ttl_s = u32::try_from(ttl.as_secs()).context("the time is too long")?;
            let request = pb::CreateBlobLinkRequest { account_id: account, hash, ttl_s };
            let link = client.blobs().create_blob_link(request).await?.into_inner();
            client.out.one(client.json, &json!({"path": link.path, "expires_at_ms": link.expires_at_ms}))
        }
    }
}

async fn get(client: &mut Client, account: String, hash: String, output: Option<PathBuf>) -> anyhow::Result<()> {
    let mut stream = client.jobs().read_blob(ReadBlobRequest { account_id: account, hash }).await?.into_inner();
    let named = |path: &PathBuf| format!("cannot write {}", path.display());
    let mut file = match &output {
        Some(path) => Some(File::create(path).with_context(|| named(path))?),
        None => None,
    };
    while let Some(answer) = stream.message().await? {
        match (&mut file, &output) {
            (Some(file), Some(path)) => file.write_all(&answer.chunk).with_context(|| named(path))?,
            (Some(_) | None, _) => client.out.bytes(&answer.chunk)?,
        }
    }
    Ok(())
}

async fn put(
    client: &mut Client,
    account: &str,
    path: &Path,
    content_type: String,
    resume: String,
) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", path.display());
    let (hash, bytes) = measure(path).with_context(unreadable)?;
    let upload_id = if resume.is_empty() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let request = pb::CreateUploadRequest { account_id: account.to_owned(), bytes, hash, content_type, name };
        client.blobs().create_upload(request).await?.into_inner().upload_id
    } else {
        resume
    };
    let bar = bar(client.json, bytes);
    let upload = Upload { account, id: &upload_id, path, bar: &bar };
    let brought = upload.bring(client).await;
    bar.finish_and_clear();
    let hash = brought.with_context(|| format!("go on with --resume {upload_id}"))?;
    client.out.one(client.json, &json!({"blob": hash, "bytes": bytes}))
}

/// A file on its way.
struct Upload<'a> {
    account: &'a str,
    id: &'a str,
    path: &'a Path,
    bar: &'a ProgressBar,
}

impl Upload<'_> {
    /// Brings all of it; the hash of the blob comes back.
    async fn bring(&self, client: &Client) -> anyhow::Result<String> {
        let (mut tries, mut brought, mut back_off) = (0, 0, BACK_OFF_MIN);
        loop {
            let outcome = self.bring_rest(client).await;
            let (offset, refused) = match outcome {
                Ok((_, hash)) if !hash.is_empty() => return Ok(hash),
                Ok((offset, _)) => (offset, None),
                Err(error) if error.downcast_ref::<Status>().is_some_and(may_pass) => (brought, Some(error)),
                Err(error) => return Err(error),
            };
            if offset > brought {
                (tries, brought, back_off) = (0, offset, BACK_OFF_MIN);
            }
            tries += 1;
            if tries >= TRIES_MAX {
                match refused {
                    Some(error) => return Err(error),
                    None => bail!("the upload stays at {offset} bytes"),
                }
            }
            sleep(back_off).await;
            back_off *= 2;
        }
    }

    /// One try from where it is: where it is then, and the hash of the blob once it is whole.
    async fn bring_rest(&self, client: &Client) -> anyhow::Result<(u64, String)> {
        let (account_id, upload_id) = (self.account.to_owned(), self.id.to_owned());
        let asked = pb::GetUploadRequest { account_id: account_id.clone(), upload_id: upload_id.clone() };
        let found = client.blobs().get_upload(asked).await?.into_inner();
        self.bar.set_position(found.offset);
        if found.offset == found.bytes {
            return Ok((found.offset, found.hash));
        }
        let mut file = File::open(self.path)?;
        file.seek(SeekFrom::Start(found.offset))?;
        let begin = UploadBegin { account_id, upload_id, offset: found.offset };
        let bar = self.bar.clone();
        // What cannot be read ends the stream early, and the offset tells.
        let chunks = std::iter::from_fn(move || {
            let mut chunk = vec![0; CHUNK_BYTES];
            let read = file.read(&mut chunk).ok().filter(|read| *read > 0)?;
            chunk.truncate(read);
            bar.inc(u64::try_from(read).unwrap_or_default());
            Some(Part::Chunk(chunk))
        });
        let parts = stream::iter([Part::Begin(begin)].into_iter().chain(chunks));
        let messages = parts.map(|part| pb::UploadBlobRequest { part: Some(part) });
        let told = client.blobs().upload_blob(messages).await?.into_inner();
        Ok((told.offset, told.hash))
    }
}

/// Whether another try may go better.
fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Aborted | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded
    )
}

fn bar(json: bool, bytes: u64) -> ProgressBar {
    if json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent:>3}% {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(bytes).with_style(style.expect("the template is a constant"))
}

/// The hash of a file, and its length.
fn measure(path: &Path) -> io::Result<(String, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok((hasher.finalize().to_hex().to_string(), hasher.count()))
}
