//! How much one account may own. Every refusal names one of these.

/// API keys of an account, revoked ones apart.
pub const KEYS_MAX: usize = 50;
/// Sources of an account.
pub const SOURCES_MAX: usize = 200;
/// Live secrets of a source.
pub const SECRETS_MAX: usize = 4;
/// Endpoints of an account.
pub const ENDPOINTS_MAX: usize = 100;
/// Patterns of an endpoint.
pub const PATTERNS_MAX: usize = 32;
/// Playbooks of an account.
pub const PLAYBOOKS_MAX: usize = 100;
/// Jobs of an account that have not ended.
pub const OPEN_JOBS_MAX: usize = 1_000;
/// Bytes of a job's input, of a task's result and of a checkpoint.
pub const JSON_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a webhook's body that go into an event.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Characters of a display name or label.
pub const LABEL_CHARS_MAX: usize = 200;
/// Characters of an idempotency key.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 128;
/// Failed attempts at a task before it fails for good.
pub const TASK_FAILURES_MAX: u32 = 5;
/// The first wait between attempts at a task; it doubles each time.
pub const TASK_BACK_OFF_MS_MIN: u64 = 1_000;
/// The longest wait between attempts at a task.
pub const TASK_BACK_OFF_MS_MAX: u64 = 5 * 60 * 1_000;
/// Waits between attempts at a delivery; after the last one it is given up.
pub const DELIVERY_RETRY_MS: [u64; 7] = [5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000];
