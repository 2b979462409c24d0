//! Etcd as processes: one member or several, on free ports, in temporary folders, stopped by pid on drop. No async
//! code and no part of Steward, so that any test can use it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// How long etcd may take to serve.
const READY_MAX: Duration = Duration::from_secs(60);
/// What a member says when it serves.
const READY: &str = "ready to serve client requests";

/// A running etcd.
pub(crate) struct Etcd {
    members: Vec<Member>,
    _folder: tempfile::TempDir,
}

/// What a member with TLS shows and trusts.
pub(crate) struct TlsFiles {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

struct Member {
    arguments: Vec<String>,
    endpoint: String,
    data: PathBuf,
    child: Option<Child>,
}

impl Etcd {
    /// Starts so many members and waits until all of them serve.
    pub(crate) fn start(members: usize) -> Self {
        Self::start_on("127.0.0.1", members)
    }

    /// The same on another address of this machine.
    pub(crate) fn start_on(host: &str, members: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports: Vec<(u16, u16)> = free_ports(host, members * 2).chunks(2).map(|pair| (pair[0], pair[1])).collect();
        let url = |port: u16| format!("http://{host}:{port}");
        let all: Vec<String> =
            ports.iter().enumerate().map(|(at, (_, peer))| format!("m{at}={}", url(*peer))).collect();
        let member = |(at, (client, peer)): (usize, &(u16, u16))| Member {
            arguments: arguments(at, &folder.path().join(at.to_string()), &url(*client), &url(*peer), &all),
            endpoint: format!("{host}:{client}"),
            data: folder.path().join(at.to_string()),
            child: None,
        };
        let mut etcd = Self { members: ports.iter().enumerate().map(member).collect(), _folder: folder };
        let started: Vec<Receiver<()>> = etcd.members.iter_mut().map(Member::spawn).collect();
        for ready in started {
            ready.recv_timeout(READY_MAX).expect("etcd serves in time");
        }
        etcd
    }

    /// One member that speaks TLS and wants a certificate of its clients. Files are named as etcd's flags.
    pub(crate) fn start_with_tls(files: &TlsFiles) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = free_ports("127.0.0.1", 2);
        let (client, peer) = (format!("https://127.0.0.1:{}", ports[0]), format!("http://127.0.0.1:{}", ports[1]));
        let data = folder.path().join("0");
        let mut arguments = arguments(0, &data, &client, &peer, &[format!("m0={peer}")]);
        let TlsFiles { ca, certificate, key } = files;
        for (flag, file) in [("--trusted-ca-file", ca), ("--cert-file", certificate), ("--key-file", key)] {
            arguments.extend([flag.to_owned(), file.display().to_string()]);
        }
        arguments.push("--client-cert-auth".to_owned());
        let mut member = Member { arguments, endpoint: client, data, child: None };
        member.spawn().recv_timeout(READY_MAX).expect("etcd serves in time");
        Self { members: vec![member], _folder: folder }
    }

    /// `host:port` of all members, or their URLs.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.endpoint.clone()).collect()
    }

    /// SIGKILL to one member.
    pub(crate) fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// Starts a killed member over its data, and waits until it serves.
    pub(crate) fn restart(&mut self, member: usize) {
        let ready = self.members[member].spawn();
        ready.recv_timeout(READY_MAX).expect("etcd serves in time");
    }

    /// Removes what a killed member kept.
    pub(crate) fn wipe(&mut self, member: usize) {
        let member = &self.members[member];
        assert!(member.child.is_none(), "it runs");
        std::fs::remove_dir_all(&member.data).expect("its folder can be removed");
    }

    /// SIGSTOP to one member: it holds its connections and says nothing.
    pub(crate) fn pause(&self, member: usize) {
        let pid = self.members[member].signal(rustix::process::Signal::STOP);
        // It answers until all its threads have stopped.
        let stopped = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::UNTRACED);
        stopped.expect("it is a child of this test");
    }

    /// SIGCONT to one member.
    pub(crate) fn go_on(&self, member: usize) {
        self.members[member].signal(rustix::process::Signal::CONT);
    }
}

impl Member {
    /// Starts the process; the receiver hears when it serves.
    fn spawn(&mut self) -> Receiver<()> {
        let mut child = Command::new("etcd")
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("etcd is installed by `scripts/setup --tests`");
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (ready, started): (SyncSender<()>, _) = sync_channel(1);
        // Reads to the end, for etcd must not block on a full pipe.
        std::thread::spawn(move || {
            for _ in lines.map_while(Result::ok).filter(|line| line.contains(READY)) {
                ready.try_send(()).ok();
            }
        });
        self.child = Some(child);
        started
    }

    fn signal(&self, signal: rustix::process::Signal) -> rustix::process::Pid {
        let pid = self.child.as_ref().expect("it runs").id();
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("it has a process id");
        rustix::process::kill_process(pid, signal).expect("it is ours to signal");
        pid
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok(); // It may have ended.
            child.wait().ok();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn arguments(at: usize, data: &Path, client: &str, peer: &str, all: &[String]) -> Vec<String> {
    let data: PathBuf = data.to_owned();
    let pairs = [
        ("--name", format!("m{at}")),
        ("--data-dir", data.display().to_string()),
        ("--listen-client-urls", client.to_owned()),
        ("--advertise-client-urls", client.to_owned()),
        ("--listen-peer-urls", peer.to_owned()),
        ("--initial-advertise-peer-urls", peer.to_owned()),
        ("--initial-cluster", all.join(",")),
    ];
    pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

/// Ports that were free a moment ago; etcd can not be asked for port 0, since members name each other's.
fn free_ports(host: &str, count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind((host, 0)).expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("it is bound").port()).collect()
}
