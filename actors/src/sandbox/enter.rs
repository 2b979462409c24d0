//! The helper's side: takes its own rights away, then becomes the program. Called by `main` for `sandbox-exec`,
//! before any thread is started.

use std::convert::Infallible;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, Signal};

use super::policy::{Order, Policy};
use super::syscalls;

/// The helper's exit code when it could not take its rights away; ffmpeg has no use for it.
pub(super) const REFUSED_EXIT: i32 = 125;
/// What the helper's complaint starts with.
pub(super) const REFUSED_MARK: &str = "sandbox: ";
/// Open files a child may have.
const OPEN_FILES_MAX: u64 = 64;
/// How far the child stands back behind the server's own threads.
const NICE: i32 = 10;
/// Between the polite signal and the kill when CPU time runs out.
const CPU_GRACE_SECONDS: u64 = 2;
/// What dynamically linked programs read to start.
const SYSTEM: &[&str] = &["/usr", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache"];
/// The newest rules we ask for; an older kernel enforces those it knows.
const RULES: ABI = ABI::V6;

/// Why the helper did not become the program.
#[derive(Debug, thiserror::Error)]
enum EnterError {
    #[error("the policy cannot be read: {0}")]
    Policy(#[from] serde_json::Error),
    #[error("the parent is gone")]
    Orphan,
    #[error("a process limit was refused: {0}")]
    Limit(#[from] rustix::io::Errno),
    #[error("landlock refused: {0}")]
    Landlock(#[from] landlock::RulesetError),
    #[error("a folder of the policy cannot be opened: {0}")]
    Folder(#[from] landlock::PathFdError),
    #[error("this kernel has no landlock")]
    NoLandlock,
    #[error("the system call filter was refused: {0}")]
    Filter(#[from] seccompiler::Error),
    #[error("the program did not start: {0}")]
    Exec(#[from] std::io::Error),
}

/// What this kernel offers, for the health report.
pub fn support() -> Result<(), &'static str> {
    let created = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create);
    created.map(|_| ()).map_err(|_| "the kernel has no landlock: media files are refused unless sandbox.require is off")
}

/// Becomes the program of a policy (JSON); returns only when that was refused.
#[must_use]
pub fn run_sandbox_exec(policy: &str) -> ExitCode {
    let Err(refusal) = enter(policy);
    writeln!(std::io::stderr(), "{REFUSED_MARK}{refusal}").ok(); // Nobody listens: the exit code says it too.
    ExitCode::from(u8::try_from(REFUSED_EXIT).expect("the exit code is a small constant"))
}

fn enter(policy: &str) -> Result<Infallible, EnterError> {
    let Order { policy, require, parent } = serde_json::from_str(policy)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above tied us to it.
    if rustix::process::getppid().is_none_or(|now| now.as_raw_nonzero().get() != parent) {
        return Err(EnterError::Orphan);
    }
    rustix::thread::set_no_new_privs(true)?;
    limit(&policy)?;
    confine(&policy, require)?;
    seccompiler::apply_filter(&syscalls::filter().map_err(seccompiler::Error::Backend)?)?;
    let mut program = Command::new(&policy.program);
    program.args(&policy.args).env_clear().current_dir(policy.write.as_deref().unwrap_or(Path::new("/")));
    Err(program.exec().into())
}

fn limit(policy: &Policy) -> Result<(), EnterError> {
    let set = |resource, current, maximum| {
        rustix::process::setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
    };
    let cpu = policy.cpu_seconds_max;
    set(Resource::Cpu, cpu, cpu.saturating_add(CPU_GRACE_SECONDS))?;
    set(Resource::As, policy.memory_bytes_max, policy.memory_bytes_max)?;
    set(Resource::Fsize, policy.file_bytes_max, policy.file_bytes_max)?;
    set(Resource::Nofile, OPEN_FILES_MAX, OPEN_FILES_MAX)?;
    set(Resource::Core, 0, 0)?;
    rustix::process::nice(NICE)?;
    Ok(())
}

fn confine(policy: &Policy, require: bool) -> Result<(), EnterError> {
    let read = AccessFs::from_read(RULES);
    let look = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))?
        .handle_access(AccessNet::from_all(RULES))?
        .scope(Scope::from_all(RULES))?
        .create()?
        .add_rules(path_beneath_rules(SYSTEM, read))?
        .add_rules(path_beneath_rules([&policy.program], read))?
        .add_rules(path_beneath_rules(&policy.read, look))?
        .add_rules(path_beneath_rules(["/dev/null"], AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules(["/dev/urandom"], AccessFs::ReadFile))?;
    if let Some(folder) = &policy.write {
        let files = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::Truncate;
        let names = AccessFs::MakeReg | AccessFs::RemoveFile;
        rules = rules.add_rule(PathBeneath::new(PathFd::new(folder)?, files | names))?;
    }
    let status = rules.restrict_self()?;
    let bare = matches!(status.ruleset, RulesetStatus::NotEnforced);
    if bare && require { Err(EnterError::NoLandlock) } else { Ok(()) }
}
