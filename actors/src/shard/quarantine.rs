//! Accounts whose actor keeps failing, and how long the others rest between attempts.
//!
//! Known to this node only: another node, or this one after a restart, may try again.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::ids::AccountId;
use crate::metrics;

/// The first rest after a failure; it doubles with each one.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
/// Failures within the window that put an account into quarantine.
const FAILURES_MAX: u32 = 3;
/// A failure this old is forgotten.
const WINDOW: Duration = Duration::from_secs(300);

/// The accounts that failed.
#[derive(Default)]
pub(crate) struct Quarantine {
    failures: Mutex<HashMap<AccountId, Failures>>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Duration,
    /// Set in quarantine.
    reason: Option<String>,
}

impl Quarantine {
    /// Notes a failure and says until when the account rests.
    pub(crate) fn failed(&self, account: &AccountId, reason: &str, now: Duration) -> Duration {
        let mut failures = self.failures.lock();
        failures.retain(|_, known| known.reason.is_some() || now.saturating_sub(known.last) < WINDOW);
        let fresh = Failures { count: 0, last: now, reason: None };
        let known = failures.entry(account.clone()).or_insert(fresh);
        known.count += 1;
        known.last = now;
        metrics::account_failed();
        tracing::warn!(account = account.as_str(), count = known.count, reason, "account actor failed");
        if known.count >= FAILURES_MAX {
            tracing::error!(account = account.as_str(), reason, "account is in quarantine");
            known.reason = Some(reason.to_owned());
        }
        now + BACK_OFF_MIN * 2_u32.pow(known.count.min(FAILURES_MAX) - 1)
    }

    /// Why the account is in quarantine, if it is.
    pub(crate) fn reason(&self, account: &AccountId) -> Option<String> {
        self.failures.lock().get(account)?.reason.clone()
    }

    /// Lifts the quarantine; false when there was none.
    pub(crate) fn resume(&self, account: &AccountId) -> bool {
        let mut failures = self.failures.lock();
        let held = failures.get(account).is_some_and(|known| known.reason.is_some());
        if held {
            failures.remove(account);
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_longer_each_time_then_holds_until_resumed() {
        let quarantine = Quarantine::default();
        let [sick, well] = ["sick", "well"].map(|name| AccountId::parse(name).unwrap());
        let at = Duration::from_secs;
        assert_eq!(quarantine.failed(&sick, "boom", at(0)), Duration::from_millis(100));
        assert_eq!(quarantine.failed(&sick, "boom", at(1)), Duration::from_millis(1200));
        assert_eq!(quarantine.reason(&sick), None);
        quarantine.failed(&sick, "boom again", at(2));
        assert_eq!(quarantine.reason(&sick).as_deref(), Some("boom again"));
        assert_eq!(quarantine.reason(&well), None);
        assert!(quarantine.resume(&sick));
        assert!(!quarantine.resume(&sick));
        assert_eq!(quarantine.reason(&sick), None);
    }

    #[test]
    fn old_failures_are_forgotten() {
        let quarantine = Quarantine::default();
        let sick = AccountId::parse("sick").unwrap();
        for n in 0..5 {
            quarantine.failed(&sick, "boom", WINDOW * n);
        }
        assert_eq!(quarantine.reason(&sick), None);
    }
}
