//! A disk that says something else than what was written to it.

use std::fs;

use steward_tests::harness::{Cluster, Run, Shape};

use crate::{A_WHILE, PLAN, close};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_damaged_log_stays_away_and_its_successor_gets_everything() {
    let mut cluster = Cluster::start(Shape::default()).await;
    let run = Run::start(PLAN, cluster.known()).await;
    run.goes_on(2 * A_WHILE).await;
    cluster.terminate(3).await;
    let folder = fs::read_dir(cluster.node(3).data_dir().join("shards/log")).expect("the log is there");
    let mut segments: Vec<_> = folder.map(|entry| entry.expect("the folder can be read").path()).collect();
    segments.retain(|path| path.extension().is_some_and(|end| end == "log"));
    segments.sort();
    let segment = segments.first().expect("there is a segment");
    let mut bytes = fs::read(segment).expect("a segment can be read");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("the segment holds something");
    bytes[used / 2] ^= 1;
    fs::write(segment, bytes).expect("a segment can be written");
    cluster.node_mut(3).expect("steward: ");
    let said = cluster.node(3).refuses_to_start();
    let name = segment.file_name().and_then(|name| name.to_str()).expect("segments have plain names");
    assert!(said.contains("is damaged at byte ") && said.contains(name), "{said}");
    // Its id stays that of the lost data; a node without any takes over.
    cluster.add();
    cluster.drain(3).await;
    cluster.forget(3);
    cluster.placed().await;
    run.goes_on(A_WHILE).await;
    close("damaged log", cluster, run).await;
}
