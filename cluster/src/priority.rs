//! How the threads of a node share its cores. Each thread says what it is when it starts, once.
//!
//! All of it is asked for, not required: where the right to it is missing a thread works at the usual priority.

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// The niceness of threads that all others wait for.
const AHEAD: i32 = -10;
/// The niceness of threads nobody waits for.
const BEHIND: i32 = 10;
/// What the crate calls a niceness of 0.
const USUAL: u8 = 48;

/// For a thread that every answer waits for: the driver, whose late heartbeats move leaders, and the log. It takes its turn
/// as well, but a sooner and longer one: on a machine that is busy with other things it waits milliseconds.
pub(crate) fn ahead() {
    in_turn();
    rustix::process::setpriority_process(None, AHEAD).ok();
}

/// For a thread that works off what has gathered: one that is woken does not interrupt another that runs, but takes its
/// turn after it. With fewer interruptions more gathers for each turn, which is what a busy node lives on. Keeps the niceness.
pub fn in_turn() {
    let niceness = rustix::process::getpriority_process(None);
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    if let Ok(usual) = ThreadPriorityValue::try_from(USUAL) {
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(usual), policy).ok();
    }
    if let Ok(niceness) = niceness {
        rustix::process::setpriority_process(None, niceness).ok();
    }
}

/// For a thread whose work may wait, such as writing snapshots.
pub fn behind() {
    rustix::process::setpriority_process(None, BEHIND).ok();
}

#[cfg(test)]
mod tests {
    use thread_priority::thread_schedule_policy;

    use super::*;

    #[test]
    fn a_thread_that_takes_turns_keeps_its_niceness() {
        let told = std::thread::spawn(|| {
            rustix::process::setpriority_process(None, 3).unwrap();
            in_turn();
            (thread_schedule_policy().unwrap(), rustix::process::getpriority_process(None).unwrap())
        });
        let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
        assert_eq!(told.join().unwrap(), (batch, 3));
    }
}
