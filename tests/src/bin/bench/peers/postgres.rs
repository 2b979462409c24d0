//! PostgreSQL: one function call per event that drops what it has seen, appends and returns the number. Driven by
//! pgbench over the binary protocol: no HTTP and no signature, which favours it.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::{Cell, free_port};
use crate::ingest::Sample;
use crate::meter::Meter;
use crate::node::Program;

/// Where Debian puts the server.
const BINARIES: &str = "/usr/lib/postgresql/15/bin";
/// Everybody may enter: the server runs as another user.
const OPEN_FOLDER: u32 = 0o755;
/// It refuses to run as root, so root runs it as this user.
const USER: &str = "postgres";
const ROOT: u32 = 0;

const SCHEMA: &str = "
CREATE TABLE inbox(acc int PRIMARY KEY, seq bigint NOT NULL);
CREATE TABLE ev(acc int, id bigint, seq bigint, payload text, PRIMARY KEY(acc, id));
INSERT INTO inbox SELECT g, 0 FROM generate_series(1, 1000) g;
CREATE FUNCTION ingest(a int, e bigint, p text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE s bigint; BEGIN
  UPDATE inbox SET seq = seq + 1 WHERE acc = a RETURNING seq INTO s;
  BEGIN INSERT INTO ev VALUES (a, e, s, p); RETURN s;
  EXCEPTION WHEN unique_violation THEN
    UPDATE inbox SET seq = seq - 1 WHERE acc = a; SELECT seq INTO s FROM ev WHERE acc = a AND id = e; RETURN s; END;
END $$;";

pub(crate) struct Postgres {
    server: Program,
    folder: TempDir,
    port: u16,
    user: Option<u32>,
}

impl Postgres {
    /// None when it is not installed.
    pub(crate) fn start() -> anyhow::Result<Option<Self>> {
        if !Path::new(BINARIES).join("postgres").exists() {
            return Ok(None);
        }
        let mode = std::fs::Permissions::from_mode(OPEN_FOLDER);
        let folder = tempfile::Builder::new().permissions(mode).tempdir().context("no temporary folder")?;
        let (data, port) = (folder.path().join("data"), free_port()?);
        std::fs::create_dir(&data).context("no folder for PostgreSQL")?;
        let user = (id(&["-u"])? == ROOT).then(|| id(&["-u", USER])).transpose()?;
        if let Some(user) = user {
            std::os::unix::fs::chown(&data, Some(user), None).context("the folder cannot be given away")?;
        }
        let database = data.join("db");
        let mut init = binary("initdb", user);
        run(init.arg("-D").arg(&database).args(["-A", "trust", "-U", "bench"]))?;
        let mut server = binary("postgres", user);
        server.arg("-D").arg(&database).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"]).arg(&data);
        server.args(["-c", "synchronous_commit=on", "-c", "max_connections=300", "-c", "shared_buffers=512MB"]);
        let mut server = Program::start(&mut server, &folder.path().join("server.log"))?;
        server.wait_for("PostgreSQL", || run(psql(port, user).args(["-c", "SELECT 1"])).ok())?;
        run(psql(port, user).args(["-c", SCHEMA]))?;
        Ok(Some(Self { server, folder, port, user }))
    }

    pub(crate) fn measure(&self, cell: Cell) -> anyhow::Result<Sample> {
        let script: PathBuf = self.folder.path().join("event.sql");
        let (keys, filler) = (cell.keys, 216);
        let text = format!(
            "\\set k random(1, {keys})\n\\set e random(1, 9000000000000000)\nSELECT ingest(:k, :e, repeat('x', {filler}));\n"
        );
        std::fs::write(&script, text).context("no script for pgbench")?;
        let mut bench = binary("pgbench", self.user);
        bench.current_dir(self.folder.path()).args([
            "-n",
            "-M",
            "prepared",
            "-h",
            "127.0.0.1",
            "-U",
            "bench",
            "-j",
            "1",
        ]);
        bench.args(["-p", &self.port.to_string(), "-c", &cell.connections.to_string()]);
        bench.args(["-T", &cell.measured.as_secs().to_string(), "-f"]).arg(&script).arg("postgres");
        let meter = Meter::start(&[self.server.pid()])?;
        let told = run(&mut bench)?;
        let usage = meter.stop()?;
        let rate = told.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
        let rate_per_s = rate.with_context(|| format!("pgbench told no rate: {told}"))?;
        let cpu_ms = usage.cpu_s * 1000.0 / (rate_per_s * cell.measured.as_secs_f64());
        // pgbench is a child that has ended, so its share is with the others.
        Ok(Sample { rate_per_s, cpu_ms, own_cores: usage.own_cores, other_cores: usage.other_cores })
    }
}

fn binary(name: &str, user: Option<u32>) -> Command {
    let mut command = Command::new(Path::new(BINARIES).join(name));
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
}

fn psql(port: u16, user: Option<u32>) -> Command {
    let mut command = binary("psql", user);
    command.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", "bench", "postgres"]);
    command
}

fn id(args: &[&str]) -> anyhow::Result<u32> {
    run(Command::new("id").args(args))?.trim().parse().context("a user's number is none")
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {errors}", command.get_program().display());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
