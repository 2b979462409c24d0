//! The parent's side: starts the child, reads what it prints, watches its progress, and makes sure it is gone.

use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use std::{future::Future, os::unix::process::ExitStatusExt as _};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Sleep, sleep, timeout};

use super::SANDBOX_EXEC;
use super::enter::{REFUSED_EXIT, REFUSED_MARK};
use super::policy::{Order, Policy, SandboxConfig};
use super::quota::{self, Quota};

/// How much of the child's complaints is kept: the end, where the reason stands.
const STDERR_TAIL_BYTES: usize = 4 << 10;
/// How long a child may take to leave when asked, before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long to read on after the child has left; its pipes are empty by then, unless it was cut off.
const DRAIN: Duration = Duration::from_secs(1);
/// How much is read at a time.
const READ_BYTES: usize = 16 << 10;

/// How a child is watched.
pub struct Watch<'a> {
    /// Killed when it shows no progress for this long.
    pub stall: Duration,
    /// Killed when it runs longer than this.
    pub wall: Duration,
    /// Gets all that the child prints; answers whether that was progress.
    pub output: &'a mut (dyn FnMut(&[u8]) -> bool + Send),
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    /// Killed by a signal: a limit, or a crash.
    Signal(i32),
}

/// A child that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub exit: Exit,
    /// The end of what it complained about. For logs: it may hold paths.
    pub stderr_tail: String,
}

/// Why a child did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("the sandbox helper did not start")]
    Start(#[source] io::Error),
    #[error("the output of the child could not be read")]
    Read(#[source] io::Error),
    #[error("the sandbox was refused: {0}")]
    Refused(String),
    #[error("no progress for {} s", stall.as_secs())]
    Stalled { stall: Duration, stderr_tail: String },
    #[error("not finished after {} s", wall.as_secs())]
    TooLong { wall: Duration, stderr_tail: String },
    #[error("more than {bytes_max} bytes in its folder")]
    TooMuch { bytes_max: u64 },
    #[error("cancelled")]
    Cancelled,
}

/// Starts children.
#[derive(Debug, Clone)]
pub struct Sandbox {
    config: SandboxConfig,
}

impl Sandbox {
    #[must_use]
    pub fn new(config: SandboxConfig) -> Self {
        Self { config }
    }

    /// Runs a child to its end, to a limit of `watch`, or to `cancelled`. Nothing of it is left afterwards.
    pub async fn run(
        &self,
        policy: &Policy,
        watch: Watch<'_>,
        cancelled: impl Future<Output = ()>,
    ) -> Result<Finished, ChildError> {
        let quota = Quota::of(policy).map_err(ChildError::Start)?;
        let too_much = || ChildError::TooMuch { bytes_max: policy.folder_bytes_max };
        let (mut child, group) = self.start(policy)?;
        let mut tail = Tail::default();
        let ended = tokio::select! {
            ended = follow(&mut child, &group, &mut tail, watch, cancelled) => ended,
            () = quota::passed(quota.as_ref()) => Err(too_much()),
        };
        match ended {
            Ok(_) if quota.is_some_and(|quota| quota.is_passed()) => Err(too_much()),
            Ok(status) => finished(status, tail.text()),
            Err(error) => {
                group.stop(&mut child).await;
                Err(error)
            }
        }
    }

    fn start(&self, policy: &Policy) -> Result<(Child, Group), ChildError> {
        let parent = rustix::process::getpid().as_raw_nonzero().get();
        let order = Order { policy: policy.clone(), require: self.config.require, parent };
        let order = serde_json::to_string(&order).map_err(|error| ChildError::Start(error.into()))?;
        let child = Command::new(&self.config.helper)
            .args([SANDBOX_EXEC, &order])
            .env_clear()
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(ChildError::Start)?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok((child, Group(id.expect("a child that was not waited for has an id"))))
    }
}

/// A process group that dies with this value.
struct Group(Pid);

impl Group {
    fn kill(&self) {
        kill_process_group(self.0, Signal::KILL).ok(); // An empty group: nothing is left to kill.
    }

    /// Asks the group to leave, then kills it.
    async fn stop(&self, child: &mut Child) {
        kill_process_group(self.0, Signal::TERM).ok(); // Gone already: so much the better.
        if timeout(TERM_GRACE, child.wait()).await.is_err() {
            self.kill();
            child.wait().await.ok(); // Only "no such child" can come back here.
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn follow(
    child: &mut Child,
    group: &Group,
    tail: &mut Tail,
    watch: Watch<'_>,
    cancelled: impl Future<Output = ()>,
) -> Result<ExitStatus, ChildError> {
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let (mut out, mut err) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
    let (mut out_open, mut err_open) = (true, true);
    let mut stall: Pin<Box<Sleep>> = Box::pin(sleep(watch.stall));
    let mut wall = std::pin::pin!(sleep(watch.wall));
    let mut cancelled = std::pin::pin!(cancelled);
    let status = loop {
        tokio::select! {
            () = &mut cancelled => return Err(ChildError::Cancelled),
            () = &mut wall => return Err(ChildError::TooLong { wall: watch.wall, stderr_tail: tail.text() }),
            () = &mut stall => return Err(ChildError::Stalled { stall: watch.stall, stderr_tail: tail.text() }),
            read = stdout.read(&mut out), if out_open => {
                let read = read.map_err(ChildError::Read)?;
                out_open = read > 0;
                if out_open && (watch.output)(&out[..read]) {
                    stall.set(sleep(watch.stall));
                }
            }
            read = stderr.read(&mut err), if err_open => {
                let read = read.map_err(ChildError::Read)?;
                err_open = read > 0;
                tail.add(&err[..read]);
            }
            status = child.wait() => break status.map_err(ChildError::Read)?,
        }
    };
    // A process it left behind would hold the pipes open, which still have what it printed last.
    group.kill();
    let rest = async {
        drain(&mut stdout, &mut out, |bytes| _ = (watch.output)(bytes)).await;
        drain(&mut stderr, &mut err, |bytes| tail.add(bytes)).await;
    };
    timeout(DRAIN, rest).await.ok();
    Ok(status)
}

async fn drain(pipe: &mut (impl AsyncRead + Unpin), buffer: &mut [u8], mut take: impl FnMut(&[u8])) {
    while let Ok(read) = pipe.read(buffer).await {
        if read == 0 {
            break;
        }
        take(&buffer[..read]);
    }
}

fn finished(status: ExitStatus, stderr_tail: String) -> Result<Finished, ChildError> {
    let exit = match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    };
    match stderr_tail.trim().strip_prefix(REFUSED_MARK) {
        Some(reason) if exit == Exit::Code(REFUSED_EXIT) => Err(ChildError::Refused(reason.to_owned())),
        Some(_) | None => Ok(Finished { exit, stderr_tail }),
    }
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let surplus = self.0.len().saturating_sub(STDERR_TAIL_BYTES);
        self.0.drain(..surplus);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}
