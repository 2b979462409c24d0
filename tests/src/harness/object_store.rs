//! A server that speaks S3 over its own folder: s3rver, which knows one key, takes parts and serves ranges. It does not check
//! the newest kind of signatures in headers. `scripts/setup --tests` installs it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::tools::workspace;

const BUCKET: &str = "blobs";
/// The one key that s3rver knows.
const KEY: &str = "S3RVER";

/// A store under test. It ends with this value.
#[derive(Debug)]
pub struct ObjectStore {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
}

impl ObjectStore {
    /// Starts one with an empty bucket.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("steward-s3-").tempdir().expect("a temporary folder can be made");
        let mut store = Self { child: None, port: 0, folder };
        store.restart();
        store
    }

    /// Starts it again over what it had, on the port it had.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the store is running");
        let server = workspace().join(".sdks/node/node_modules/s3rver/bin/s3rver.js");
        assert!(server.exists(), "s3rver is not there; scripts/setup --tests installs it");
        let mut command = Command::new("node");
        command.arg(server).arg("--directory").arg(self.folder.path()).args(["--address", "127.0.0.1"]);
        command.args(["--port", &self.port.to_string(), "--no-vhost-buckets", "--configure-bucket", BUCKET]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("node starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it has an output")).lines();
        let port = lines.find_map(|line| {
            let line = line.expect("it says text");
            line.split_once("listening on 127.0.0.1:").map(|(_, port)| port.parse().expect("a port is a number"))
        });
        self.port = port.expect("the store says where it listens");
        // It logs each request; a pipe nobody reads would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        self.child = Some(child);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the store is running");
        child.kill().expect("a process can be killed");
        child.wait().expect("a process ends");
    }

    /// The settings that lead there.
    #[must_use]
    pub fn settings(&self, prefix: &str) -> Vec<String> {
        vec![
            format!("blobs.store=s3://{BUCKET}/{prefix}"),
            format!("blobs.endpoint=http://127.0.0.1:{}", self.port),
            "blobs.path_style=true".to_owned(),
            format!("blobs.access_key_id={KEY}"),
            format!("blobs.secret_access_key=text:{KEY}"),
        ]
    }

    /// The file of an account's blob.
    #[must_use]
    pub fn object(&self, prefix: &str, account: &str, hash: &str) -> PathBuf {
        self.under(prefix).join(account).join(format!("{hash}._S3rver_object"))
    }

    /// How many objects an account has.
    #[must_use]
    pub fn count(&self, prefix: &str, account: &str) -> usize {
        let files = std::fs::read_dir(self.under(prefix).join(account)).into_iter().flatten();
        files.filter(|file| file.as_ref().is_ok_and(|file| is_object(&file.path()))).count()
    }

    fn under(&self, prefix: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(prefix)
    }
}

fn is_object(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "_S3rver_object")
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
