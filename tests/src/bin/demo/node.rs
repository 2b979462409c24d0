//! The node of the demo: started, killed and started again at the same addresses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use steward_tests::harness::{Launch, NodeProcess};

pub(crate) struct Node {
    launch: Launch,
    process: NodeProcess,
    pub(crate) http: String,
    pub(crate) grpc: String,
    pub(crate) key: String,
    pub(crate) ready_in: Duration,
}

impl Node {
    pub(crate) fn start(steward: &Path, folder: &Path) -> anyhow::Result<Self> {
        let launch = Launch::new(steward, folder)
            .set("ai.models_dir=.models")
            // The platform and the receiver are on this machine; a real node refuses addresses like these.
            .set("egress.allow=127.0.0.1/32")
            // The recording is short: cut it finer than usual, so that there is a checkpoint to come back to.
            .set("video.chunk_seconds=5");
        Self::launched(launch)
    }

    /// SIGKILL: no goodbye, no flush.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Starts the same node again, at the same addresses, over the same data.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        let again = Launch { http: self.http.clone(), grpc: self.grpc.clone(), ..self.launch.clone() };
        *self = Self::launched(again)?;
        Ok(())
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.launch.data_dir.clone()
    }

    fn launched(launch: Launch) -> anyhow::Result<Self> {
        let process = launch.start()?;
        let (http, grpc, key) = (process.http.clone(), process.grpc.clone(), process.key.clone());
        let ready_in = process.ready_in;
        Ok(Self { launch, process, http, grpc, key, ready_in })
    }
}
