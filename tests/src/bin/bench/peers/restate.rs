//! Restate: one node, durable, with a virtual object per account that drops events it has seen.
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
const POLL: Duration = Duration::from_millis(100);

pub(crate) struct Restate {
    server: Program,
    handler: Program,
    _folder: TempDir,
    ingress: u16,
}

impl Restate {
    /// None when it is not installed.
    pub(crate) async fn start(peers: &Path) -> anyhow::Result<Option<Self>> {
        let binary = peers.join(SERVER);
        if !binary.exists() {
            return Ok(None);
        }
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let (ingress, admin, node, service) = (free_port()?, free_port()?, free_port()?, free_port()?);
        let settings = folder.path().join("restate.toml");
        let data = folder.path().join("data");
        let text = format!(
            "node-name = \"n1\"\ncluster-name = \"bench\"\nbase-dir = \"{}\"\ndisable-telemetry = true\n\
             bind-ip = \"127.0.0.1\"\nbind-port = {node}\nlisten-mode = \"tcp\"\n\
             advertised-address = \"http://127.0.0.1:{node}\"\nlog-filter = \"warn\"\n\
             [ingress]\nbind-ip = \"127.0.0.1\"\nbind-port = {ingress}\n\
             [admin]\nbind-ip = \"127.0.0.1\"\nbind-port = {admin}\ndisable-web-ui = true\n",
            data.display()
        );
        std::fs::write(&settings, text).context("cannot write Restate's settings")?;
        let script = put_script(peers, "restate.mjs", HANDLER)?;
        let mut handler = Command::new("node");
        handler.arg(script).arg(service.to_string());
        let handler = Program::start(&mut handler, &folder.path().join("handler.log"))?;
        let mut server = Command::new(binary);
        server.args(["--no-logo", "-c"]).arg(&settings).env("DO_NOT_TRACK", "1");
        let server = Program::start(&mut server, &folder.path().join("server.log"))?;
        until(ingress, "GET /restate/health HTTP/1.1\r\nhost: bench\r\n\r\n").await?;
        let body = format!("{{\"uri\":\"http://127.0.0.1:{service}\"}}");
        let deploy = format!(
            "POST /deployments HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        until(admin, &deploy).await?;
        Ok(Some(Self { server, handler, _folder: folder, ingress }))
    }

    pub(crate) async fn measure(&self, cell: Cell) -> anyhow::Result<Sample> {
        let seconds = usize::try_from((cell.warmup + cell.measured).as_secs()).context("too long")?;
        let requests = Rc::new(requests(cell, RATE_MAX * seconds));
        let plan = Plan {
            address: local(self.ingress),
            connections: cell.connections,
            warmup: cell.warmup,
            measured: cell.measured,
            rate_per_s: None,
        };
        let (outcome, sample) = driven(plan, &requests, &[self.server.pid(), self.handler.pid()]).await?;
        ensure!(outcome.refused == 0, "Restate refused {} calls", outcome.refused);
        Ok(sample)
    }
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
