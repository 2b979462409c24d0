//! How much one account may own. Every refusal names one of these.

/// API keys of an account, revoked ones apart.
pub const KEYS_MAX: usize = 50;
/// Sources of an account.
pub const SOURCES_MAX: usize = 200;
/// Live secrets of a source.
pub const SECRETS_MAX: usize = 4;
/// Networks a source lets webhooks come from.
pub const ALLOWED_NETWORKS_MAX: usize = 64;
/// Bytes of the answer a source gives.
pub const SOURCE_RESPONSE_BYTES_MAX: usize = 1_024;
/// Refused requests a source keeps, when none is larger than [`REFUSED_PLACE_BYTES`].
pub const REFUSED_MAX: u64 = 256;
/// Bytes of a refused request that take one of those places; a larger one takes several.
pub const REFUSED_PLACE_BYTES: usize = 64 * 1024;
/// Refused requests that one command forgets.
pub const REFUSED_FORGOTTEN_MAX: usize = 256;
/// Bytes of a kept request that stand in its event; a larger one stands beside the feed.
pub const REQUEST_INLINE_BYTES_MAX: usize = 64 * 1024;
/// Endpoints of an account.
pub const ENDPOINTS_MAX: usize = 100;
/// Patterns of an endpoint.
pub const PATTERNS_MAX: usize = 32;
/// Playbooks of an account.
pub const PLAYBOOKS_MAX: usize = 100;
/// Schedules of an account.
pub const SCHEDULES_MAX: usize = 100;
/// The longest window that ticks are spread over.
pub const SMOOTHING_MS_MAX: u64 = 24 * 3_600 * 1_000;
/// How long after it was due a tick is taken before it counts as missed: a change of leaders takes seconds.
pub const TICK_LATE_MS_MAX: u64 = 60 * 1_000;
/// Missed ticks that are made up for, the newest ones.
pub const CATCH_UP_TICKS_MAX: usize = 100;
/// Ticks that one decision takes; the next one follows at once.
pub const TICKS_AT_ONCE_MAX: usize = 10;
/// Skipped ticks that one decision counts.
pub const SKIPPED_COUNTED_MAX: usize = 1_000;
/// How far ahead a job's start and its deadline may be.
pub const JOB_AHEAD_MS_MAX: u64 = 366 * 24 * 3_600 * 1_000;
/// Bytes of a job's input, of a task's result and of a checkpoint.
pub const JSON_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a webhook's body that go into an event.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Events in one webhook request.
pub const BATCH_ITEMS_MAX: usize = 1_000;
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
/// Events pending at an endpoint; the feed behind its cursor has no limit but the retention.
pub const PENDING_MAX: usize = 4_096;
/// Events that one command sends once more.
pub const REQUEUED_MAX: usize = 256;
/// Failures in a row that open an endpoint's circuit.
pub const CIRCUIT_FAILURES: u32 = 10;
/// The first wait of an open circuit; it doubles with each failed attempt.
pub const CIRCUIT_WAIT_MS_MIN: u64 = 5_000;
/// The longest wait of an open circuit.
pub const CIRCUIT_WAIT_MS_MAX: u64 = 10 * 60 * 1_000;
/// How long an endpoint may fail without a success before it is disabled.
pub const FAILING_MS_MAX: u64 = 5 * 24 * 3_600 * 1_000;
/// Hundredths of that time after which its owner is told.
pub const FAILING_WARNINGS: [u32; 3] = [50, 70, 90];
/// Headers that an endpoint asks for.
pub const EXTRA_HEADERS_MAX: usize = 16;
/// Bytes of an endpoint's headers and credentials.
pub const EXTRA_BYTES_MAX: usize = 32 * 1024;
/// Characters of a filter expression.
pub const FILTER_CHARS_MAX: usize = 1_024;
/// Bytes of a receiver's answer that are kept.
pub const RESPONSE_BYTES_MAX: usize = 4_096;
/// Waits between attempts at a delivery; after the last one it is given up.
pub const DELIVERY_RETRY_MS: [u64; 7] = [5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000];
