//! Restate: one server or a cluster of them, durable, with a virtual object per account that drops events it has seen.
//!
//! The handler is the official TypeScript SDK's; with the Rust SDK the server is the bottleneck all the same.

use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use steward_cluster::clock::{Clock, SystemClock};
use tempfile::TempDir;

use super::{Cell, free_port, local, put_script};
use crate::http::Connection;
use crate::inbox::BODY_BYTES;
use crate::ingest::{Sample, driven};
use crate::load::{Plan, Requests};
use crate::node::{Program, READY_MAX};

const SERVER: &str = "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server";
const HANDLER: &str = include_str!("restate.mjs");
/// More per second than it answers.
const RATE_MAX: usize = 20_000;
/// Keys each server is asked for before it is measured; the default are 24 partitions.
const FIRST_KEYS: usize = 100;
const POLL: Duration = Duration::from_millis(100);

/// Where one server of it listens.
#[derive(Clone, Copy)]
struct Ports {
    node: u16,
    ingress: u16,
    admin: u16,
}

impl Ports {
    fn free() -> anyhow::Result<Self> {
        Ok(Self { node: free_port()?, ingress: free_port()?, admin: free_port()? })
    }
}

pub(crate) struct Restate {
    // Stopped before their folder goes.
    servers: Vec<Program>,
    handler: Program,
    _folder: TempDir,
    ports: Vec<Ports>,
}

impl Restate {
    /// Starts so many servers as one system. None when it is not installed.
    pub(crate) async fn start(peers: &Path, servers: usize) -> anyhow::Result<Option<Self>> {
        let binary = peers.join(SERVER);
        if !binary.exists() {
            return Ok(None);
        }
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let service = free_port()?;
        let script = put_script(peers, "restate.mjs", HANDLER)?;
        let mut handler = Command::new("node");
        handler.arg(script).arg(service.to_string());
        let handler = Program::start(&mut handler, &folder.path().join("handler.log"))?;
        let ports = (0..servers).map(|_| Ports::free()).collect::<anyhow::Result<Vec<Ports>>>()?;
        let mut started = vec![];
        for at in 0..servers {
            let file = folder.path().join(format!("n{at}.toml"));
            std::fs::write(&file, settings(folder.path(), &ports, at)).context("cannot write Restate's settings")?;
            let mut server = Command::new(&binary);
            server.args(["--no-logo", "-c"]).arg(&file).env("DO_NOT_TRACK", "1");
            started.push(Program::start(&mut server, &folder.path().join(format!("n{at}.log")))?);
        }
        for ports in &ports {
            until(ports.ingress, "GET /restate/health HTTP/1.1\r\nhost: bench\r\n\r\n").await?;
        }
        let body = format!("{{\"uri\":\"http://127.0.0.1:{service}\"}}");
        until(ports[0].admin, &post("/deployments", &body)).await?;
        // Every partition has a leader, and every server knows, once each has answered for many keys.
        for ports in &ports {
            for key in 0..FIRST_KEYS {
                let body = format!("{{\"id\":\"{}\",\"payload\":\"\"}}", ports.ingress);
                until(ports.ingress, &post(&format!("/AccountInbox/first-{key}/ingest"), &body)).await?;
            }
        }
        Ok(Some(Self { servers: started, handler, _folder: folder, ports }))
    }

    pub(crate) async fn measure(&self, cell: Cell) -> anyhow::Result<Sample> {
        let seconds = usize::try_from((cell.warmup + cell.measured).as_secs()).context("too long")?;
        let requests = Rc::new(requests(cell, RATE_MAX * seconds));
        let plan = Plan {
            addresses: self.ports.iter().map(|ports| local(ports.ingress)).collect(),
            connections: cell.connections,
            warmup: cell.warmup,
            measured: cell.measured,
            rate_per_s: None,
        };
        let pids: Vec<u32> = self.servers.iter().chain([&self.handler]).map(Program::pid).collect();
        let (outcome, sample) = driven(plan, &requests, &pids).await?;
        ensure!(outcome.refused == 0, "Restate refused {} calls", outcome.refused);
        Ok(sample)
    }
}

/// The settings of one server. The first makes the cluster, the others look for it; two of three copies are asked for,
/// as Restate's own guide for three nodes does.
fn settings(folder: &Path, ports: &[Ports], at: usize) -> String {
    let Ports { node, ingress, admin } = ports[at];
    let data = folder.join(format!("n{at}"));
    let alone = format!(
        "node-name = \"n{at}\"\ncluster-name = \"bench\"\nbase-dir = \"{}\"\ndisable-telemetry = true\n\
         bind-ip = \"127.0.0.1\"\nbind-port = {node}\nlisten-mode = \"tcp\"\nlog-filter = \"warn\"\n\
         advertised-address = \"http://127.0.0.1:{node}\"\n",
        data.display()
    );
    let listeners = format!(
        "[ingress]\nbind-ip = \"127.0.0.1\"\nbind-port = {ingress}\n\
         [admin]\nbind-ip = \"127.0.0.1\"\nbind-port = {admin}\ndisable-web-ui = true\n"
    );
    if ports.len() == 1 {
        return alone + &listeners;
    }
    let addresses: Vec<String> = ports.iter().map(|ports| format!("\"http://127.0.0.1:{}\"", ports.node)).collect();
    let (is_first, addresses) = (at == 0, addresses.join(", "));
    let together =
        format!("auto-provision = {is_first}\ndefault-replication = 2\n[metadata-client]\naddresses = [{addresses}]\n");
    alone + &together + &listeners
}

fn post(path: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}"
    )
}

fn requests(cell: Cell, count: usize) -> Requests {
    let (filler, mut all) = ("x".repeat(BODY_BYTES), Requests::default());
    let run = format!("r{}c{}k{}", cell.run, cell.connections, cell.keys);
    for at in 0..count {
        let key = at.wrapping_mul(7919) % cell.keys;
        let start = format!("{{\"id\":\"{run}-{at}\",\"payload\":\"");
        let end = &filler[..BODY_BYTES - start.len() - 2];
        let head = format!(
            "POST /AccountInbox/{run}-{key}/ingest HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
             content-length: {BODY_BYTES}\r\n\r\n{start}{end}\"}}"
        );
        all.push(|bytes| bytes.extend_from_slice(head.as_bytes()));
    }
    all
}

/// Asks until the answer is a success.
async fn until(port: u16, request: &str) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    while clock.monotonic() < READY_MAX {
        if let Ok(mut connection) = Connection::open(local(port)).await
            && let Ok(answer) = connection.ask(request.as_bytes()).await
            && (200..300).contains(&answer.status)
        {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("Restate was not ready within {READY_MAX:?}")
}
