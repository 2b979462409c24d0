//! Every right a child does not need is refused, and every child can be ended.

use std::fs;
use std::future::pending;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use steward_actors::sandbox::{ChildError, Exit, Finished, Policy, Sandbox, Watch, support};
use tokio_util::sync::CancellationToken;

use crate::support::sandbox_config;

/// Never reached, even on a busy machine.
const LONG: Duration = Duration::from_secs(600);
/// What every runner promises about cancelling.
const CANCEL_MAX: Duration = Duration::from_secs(3);

fn policy(program: &str, args: &[&str], folder: &Path) -> Policy {
    Policy {
        program: program.into(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        read: vec![],
        write: Some(folder.to_owned()),
        cpu_seconds_max: 20,
        memory_bytes_max: 1 << 30,
        file_bytes_max: 1 << 20,
        folder_bytes_max: 4 << 20,
    }
}

async fn run(policy: &Policy) -> Finished {
    let watch = Watch { stall: LONG, wall: LONG, output: &mut |_| true };
    Sandbox::new(sandbox_config()).run(policy, watch, pending()).await.expect("the child ends by itself")
}

async fn shell(script: &str, folder: &Path) -> Finished {
    run(&policy("/bin/bash", &["-c", script], folder)).await
}

#[track_caller]
fn refused(finished: &Finished, why: &str) {
    assert_ne!(finished.exit, Exit::Code(0), "the child got its way");
    assert!(finished.stderr_tail.contains(why), "{finished:?}");
}

/// Whether a process is gone (or waits only for its parent to notice).
fn gone(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

/// A killed process needs a moment to leave.
async fn soon_gone(pid: &str) {
    let waits = async {
        while !gone(pid) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(CANCEL_MAX, waits).await.unwrap_or_else(|_| panic!("process {pid} lives on"));
}

#[test]
fn this_kernel_can_confine() {
    assert_eq!(support(), Ok(()));
}

#[tokio::test]
async fn reads_only_what_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let (own, out) = (dir.path().join("own"), dir.path().join("out"));
    fs::create_dir(&out).unwrap();
    fs::write(&own, "mine").unwrap();
    fs::write(dir.path().join("other"), "theirs").unwrap();
    let cat = |file: &Path| Policy { read: vec![own.clone()], ..policy("/bin/cat", &[file.to_str().unwrap()], &out) };
    assert_eq!(run(&cat(&own)).await.exit, Exit::Code(0));
    refused(&run(&cat(&dir.path().join("other"))).await, "Permission denied");
    refused(&run(&cat(Path::new("/etc/passwd"))).await, "Permission denied");
}

#[tokio::test]
async fn writes_only_below_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    assert_eq!(shell("echo hello > inside", &out).await.exit, Exit::Code(0));
    refused(&shell("echo hello > ../outside", &out).await, "Permission denied");
    refused(&shell("chmod 777 ..", &out).await, "not permitted");
    assert!(out.join("inside").exists() && !dir.path().join("outside").exists());
}

#[tokio::test]
async fn opens_no_connection() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    refused(&shell(&format!("echo hello > /dev/tcp/127.0.0.1/{port}"), dir.path()).await, "not permitted");
}

#[tokio::test]
async fn a_playlist_reaches_no_other_file_even_without_the_tools_own_rules() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let secret = dir.path().join("secret.wav");
    fs::copy(crate::support::fixture("speech_librivox_16k.wav"), &secret).unwrap();
    let list = dir.path().join("input.mp4");
    fs::write(&list, format!("ffconcat version 1.0\nfile {}\n", secret.display())).unwrap();
    let args = ["-v", "error", "-safe", "0", "-f", "concat", "-i", list.to_str().unwrap(), "-f", "wav", "stolen.wav"];
    let steals = Policy { read: vec![list.clone()], ..policy("/usr/bin/ffmpeg", &args, &out) };
    refused(&run(&steals).await, "Permission denied");
    // The same command takes the file when it may: the refusal above is the sandbox's.
    let may = Policy { read: vec![list.clone(), secret], ..steals };
    assert_eq!(run(&may).await.exit, Exit::Code(0));
}

#[tokio::test]
async fn limits_end_it() {
    let dir = tempfile::tempdir().unwrap();
    let busy = Policy { cpu_seconds_max: 1, ..policy("/bin/bash", &["-c", "while :; do :; done"], dir.path()) };
    assert_eq!(run(&busy).await.exit, Exit::Signal(24), "SIGXCPU");
    assert_eq!(shell("exec yes > flood", dir.path()).await.exit, Exit::Signal(25), "SIGXFSZ");
    assert_eq!(fs::metadata(dir.path().join("flood")).unwrap().len(), 1 << 20);
    refused(&shell("printf -v x '%*s' 2000000000 ''", dir.path()).await, "allocate");
    refused(&shell("ulimit -t 100", dir.path()).await, "not permitted");
}

#[tokio::test]
async fn many_files_are_held_to_one_limit() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("before"), vec![7; 8 << 20]).unwrap();
    let sandbox = Sandbox::new(sandbox_config());
    let run = async |script: &str| {
        let watch = Watch { stall: LONG, wall: LONG, output: &mut |_| true };
        sandbox.run(&policy("/bin/bash", &["-c", script], dir.path()), watch, pending()).await
    };
    let files = |count: u32| format!("for i in {{1..{count}}}; do head -c 500000 /dev/urandom > $i; done");
    let few = run(&files(3)).await;
    assert!(matches!(few, Ok(Finished { exit: Exit::Code(0), .. })), "{few:?}");
    // Found at the end, however short it was.
    let many = run(&files(12)).await;
    assert!(matches!(many, Err(ChildError::TooMuch { bytes_max: 0x40_0000 })), "{many:?}");
    // And while it runs, since this one does not end.
    (1..=12).for_each(|number| fs::remove_file(dir.path().join(number.to_string())).unwrap());
    let endless = run(&format!("{}; while :; do sleep 1; done", files(12))).await;
    assert!(matches!(endless, Err(ChildError::TooMuch { .. })), "{endless:?}");
}

#[tokio::test]
async fn silence_and_length_end_it() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new(sandbox_config());
    let chatty = policy("/bin/bash", &["-c", "while :; do echo again; sleep 0.01; done"], dir.path());
    let short = Duration::from_millis(300);
    let watch = Watch { stall: short, wall: LONG, output: &mut |_| false };
    let stalled = sandbox.run(&chatty, watch, pending()).await;
    assert!(matches!(stalled, Err(ChildError::Stalled { .. })), "words without progress: {stalled:?}");
    let watch = Watch { stall: short, wall: 2 * short, output: &mut |_| true };
    let long = sandbox.run(&chatty, watch, pending()).await;
    assert!(matches!(long, Err(ChildError::TooLong { .. })), "{long:?}");
}

#[tokio::test]
async fn cancel_ends_the_whole_group_even_when_it_ignores_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; bash -c \"trap '' TERM; echo \\$\\$; while :; do sleep 1; done\" & wait; wait";
    let stubborn = policy("/bin/bash", &["-c", script], dir.path());
    let cancel = CancellationToken::new();
    let mut pid = String::new();
    let mut output = |bytes: &[u8]| {
        pid.push_str(std::str::from_utf8(bytes).unwrap());
        cancel.cancel();
        true
    };
    let watch = Watch { stall: LONG, wall: LONG, output: &mut output };
    let sandbox = Sandbox::new(sandbox_config());
    let run = async {
        let ended = sandbox.run(&stubborn, watch, cancel.cancelled()).await;
        assert!(matches!(ended, Err(ChildError::Cancelled)), "{ended:?}");
    };
    // Twice the limit, for the child's start: it is cancelled when it prints its number.
    tokio::time::timeout(2 * CANCEL_MAX, run).await.expect("gone soon after the cancel");
    soon_gone(pid.trim()).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_child_that_leaves_others_behind() {
    let dir = tempfile::tempdir().unwrap();
    let script = "sleep 1000 & echo $! > pid";
    assert_eq!(shell(script, dir.path()).await.exit, Exit::Code(0));
    soon_gone(fs::read_to_string(dir.path().join("pid")).unwrap().trim()).await;
    refused(&shell("setsid --wait true", dir.path()).await, "not permitted");
}

#[tokio::test]
async fn the_child_dies_with_the_thread_that_started_it() {
    let dir = tempfile::tempdir().unwrap();
    let forever = policy("/bin/bash", &["-c", "echo $$; while :; do sleep 1; done"], dir.path());
    let parent = std::thread::spawn(move || {
        let (said, mut heard) = tokio::sync::mpsc::channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            // Forgotten, not dropped: as if the process had been killed.
            let mut lost = Box::pin(async move {
                let mut output = |bytes: &[u8]| said.try_send(bytes.to_vec()).is_ok();
                let watch = Watch { stall: LONG, wall: LONG, output: &mut output };
                Sandbox::new(sandbox_config()).run(&forever, watch, pending()).await.map(|_| ())
            });
            let pid = tokio::select! {
                ended = &mut lost => panic!("{ended:?}"),
                pid = heard.recv() => String::from_utf8(pid.unwrap()).unwrap(),
            };
            std::mem::forget(lost);
            pid
        })
    });
    let pid = parent.join().unwrap();
    soon_gone(pid.trim()).await;
}
