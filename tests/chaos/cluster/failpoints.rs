//! A node that dies between two steps that belong together, step by step; see `cluster/src/failpoint.rs`.
//!
//! The node that dies is of a build of its own, `steward-failpoints` beside the ordinary one; `make chaos` makes it.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use rustix::process::Signal;
use steward_tests::harness::{Build, Cluster, Run, Shape, WAIT_MAX, eventually};
use tempfile::TempDir;

use crate::{A_WHILE, PLAN, close};

/// The node that dies.
const VICTIM: u64 = 1;
/// A node that makes room and comes back.
const OTHER: u64 = 2;
/// Between a command and its answer, in this order.
const OF_WRITES: [&str; 5] = ["BeforeAppend", "BeforeSync", "AfterSync", "BeforeApply", "BeforeAnswer"];

/// Where the victim learns at which step to die.
struct Fuse {
    file: PathBuf,
    _folder: TempDir,
}

impl Fuse {
    /// Starts the victim again as the build that can die.
    async fn plant(cluster: &mut Cluster) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("point");
        cluster.terminate(VICTIM).await;
        let victim = cluster.node_mut(VICTIM);
        victim.becomes(Build::Failpoints);
        victim.environment("FAILPOINT_FILE", &file.display().to_string());
        cluster.restart(VICTIM);
        cluster.placed().await;
        Self { file, _folder: folder }
    }

    /// The same for a step of leaders: it gets its shards back some time after it has started.
    async fn arm_leader(&self, cluster: &Cluster, point: &str) {
        let leads = async || (cluster.leads(VICTIM) > 0).then_some(());
        eventually(WAIT_MAX, "the victim to lead", leads).await;
        self.arm(point);
    }

    fn arm(&self, point: &str) {
        fs::write(&self.file, point).expect("the file can be written");
    }

    /// Waits until the victim is dead, and starts it again.
    async fn burns(&self, cluster: &mut Cluster, run: &Run) {
        let ended = cluster.ends(VICTIM).await;
        assert_eq!(ended.signal(), Some(Signal::KILL.as_raw()), "{ended}");
        run.goes_on(A_WHILE).await;
        fs::remove_file(&self.file).expect("it was armed");
        cluster.restart(VICTIM);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_at_any_step_of_a_command_loses_and_doubles_nothing() {
    let mut cluster = Cluster::start(Shape::default()).await;
    let fuse = Fuse::plant(&mut cluster).await;
    let run = Run::start(PLAN, cluster.known()).await;
    for point in OF_WRITES {
        run.goes_on(A_WHILE).await;
        fuse.arm(point);
        fuse.burns(&mut cluster, &run).await;
        cluster.placed().await;
    }
    close("died in a command", cluster, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_while_leaders_and_members_change_loses_and_doubles_nothing() {
    let mut cluster = Cluster::start(Shape::default()).await;
    let fuse = Fuse::plant(&mut cluster).await;
    let run = Run::start(PLAN, cluster.known()).await;
    run.goes_on(A_WHILE).await;
    // It is asked to hand over what it leads.
    fuse.arm_leader(&cluster, "BeforeTransfer").await;
    cluster.ask_to_drain(VICTIM);
    fuse.burns(&mut cluster, &run).await;
    cluster.stop_draining(VICTIM);
    cluster.placed().await;
    // A fourth node takes replicas over, so shards that the victim leads change their members.
    fuse.arm_leader(&cluster, "ChangeProposed").await;
    cluster.add();
    fuse.burns(&mut cluster, &run).await;
    cluster.placed().await;
    fuse.arm_leader(&cluster, "ChangeCommitted").await;
    cluster.ask_to_drain(OTHER);
    fuse.burns(&mut cluster, &run).await;
    cluster.drain(OTHER).await;
    cluster.stop_draining(OTHER);
    cluster.placed().await;
    // What has left the victim comes back as a snapshot.
    cluster.drain(VICTIM).await;
    fuse.arm("DuringInstall");
    cluster.stop_draining(VICTIM);
    fuse.burns(&mut cluster, &run).await;
    cluster.placed().await;
    close("died in a move", cluster, run).await;
}
