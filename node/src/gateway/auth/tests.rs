//! Who asks and what they may touch: keys × roles × {own, foreign, absent} accounts, on a real shard.

use std::time::Duration;

use ::http::HeaderValue;
use steward_actors::domain::account::{ApiKeyCreated, Asked, Command};
use steward_actors::domain::ids::KeyId;
use steward_actors::shard::{self, Observer, Seat, Shards, ShardsConfig};
use steward_cluster::clock::{ManualClock, Timestamp};
use steward_cluster::ids::NodeId;
use steward_cluster::log::LogConfig;
use steward_cluster::store::Engine;
use tempfile::TempDir;

use super::*;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const OPERATOR: &str = "stw_operator.0101010101010101010101010101010101010101010101010101010101010101";

struct World {
    auth: Authenticator,
    shards: Shards,
    clock: Arc<ManualClock>,
    _dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let opened = shard::open(dir.path(), Engine::Memory, 1 << 20, LogConfig::default()).unwrap();
        let clock = Arc::new(ManualClock::new(NOW));
        let keys = Arc::new(KnownKeys::new());
        let observers: Vec<Arc<dyn Observer>> = vec![keys.clone()];
        let config = ShardsConfig { shards: 2, ..ShardsConfig::default() };
        let fail = Arc::new(|failure| panic!("{failure:?}"));
        let shards =
            Shards::start(config, Seat::alone(NodeId(1)), opened, clock.clone(), observers, fail).await.unwrap();
        let operator = match Key::parse(OPERATOR) {
            Some(Key::Operator { hash }) => hash,
            other => panic!("{other:?}"),
        };
        let auth = Authenticator::new(Some(operator), keys, Router::new(shards.clone()), clock.clone());
        Self { auth, shards, clock, _dir: dir }
    }

    async fn execute(&self, account: &str, command: Command) {
        let asked = Asked {
            command,
            actor: "test".to_owned(),
            correlation_id: "c".to_owned(),
            causation_seq: 0,
            idempotency: None,
        };
        self.shards.execute(&AccountId::parse(account).unwrap(), asked).await.unwrap();
    }

    async fn account(&self, account: &str) {
        let command = Command::CreateAccount { display_name: String::new(), wrapped_key: vec![] };
        self.execute(account, command).await;
    }

    async fn key(&self, account: &str, key: &str, role: Role, expires_at: Option<Timestamp>) -> String {
        let id = KeyId::parse(key).unwrap();
        let (text, hash) = new_account_key(&AccountId::parse(account).unwrap(), &id);
        let created = ApiKeyCreated { key: id, role, label: String::new(), hash, expires_at };
        self.execute(account, Command::CreateApiKey(created)).await;
        text
    }

    fn caller(&self, header: &str) -> Result<Caller, Refused> {
        let headers = [(AUTHORIZATION, HeaderValue::from_str(header).unwrap())].into_iter().collect();
        self.auth.authenticate(&headers)
    }

    /// What the three proofs say about an account, in the order of roles.
    fn codes(&self, key: &str, account: &str) -> [Option<Code>; 3] {
        let caller = self.caller(&format!("Bearer {key}")).unwrap();
        [
            caller.account_reader(&self.auth, account).err().map(|refused| refused.code),
            caller.account_writer(&self.auth, account).err().map(|refused| refused.code),
            caller.account_admin(&self.auth, account).err().map(|refused| refused.code),
        ]
    }
}

#[tokio::test]
async fn roles_open_what_they_name_and_foreign_looks_absent() {
    let world = World::new().await;
    world.account("own").await;
    world.account("foreign").await;
    let (no, absent) = (Some(Code::Forbidden), Some(Code::NotFound));
    let table = [(Role::Reader, [None, no, no]), (Role::Writer, [None, None, no]), (Role::Admin, [None, None, None])];
    for (role, own) in table {
        let key = world.key("own", role_word(role), role, None).await;
        assert_eq!(world.codes(&key, "own"), own, "{role:?}");
        assert_eq!(world.codes(&key, "foreign"), [absent; 3], "{role:?}");
        assert_eq!(world.codes(&key, "absent"), [absent; 3], "{role:?}");
        let caller = world.caller(&format!("Bearer {key}")).unwrap();
        let text = |account: &str| caller.account_reader(&world.auth, account).unwrap_err().message;
        assert_eq!(text("foreign").replace("foreign", "absent"), text("absent"));
        assert_eq!(caller.operator_proof().unwrap_err().code, Code::Forbidden);
    }
    assert_eq!(world.codes(OPERATOR, "foreign"), [None; 3]);
    assert_eq!(world.codes(OPERATOR, "absent"), [absent; 3]);
    assert_eq!(world.codes(OPERATOR, "Not An Id"), [Some(Code::InvalidArgument); 3]);
    assert!(world.caller(&format!("bearer {OPERATOR}")).unwrap().operator_proof().is_ok());
}

#[tokio::test]
async fn wrong_keys_are_refused_alike() {
    let world = World::new().await;
    world.account("acme").await;
    let good = world.key("acme", "k1", Role::Admin, None).await;
    let other_id = good.replace(".k1.", ".k2.");
    let other_account = good.replace("stw_acme", "stw_other");
    let changed = format!("{}0", &good[..good.len() - 1]);
    let changed = if changed == good { format!("{}1", &good[..good.len() - 1]) } else { changed };
    let not_operator = OPERATOR.replace("01", "02");
    for key in [&other_id, &other_account, &changed, &not_operator] {
        let refused = world.caller(&format!("Bearer {key}")).unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (Code::Unauthenticated, "the key is not valid"), "{key}");
    }
    for header in ["", "Bearer", "Bearer ", "Basic x", "Bearer stw_", "Bearer stw_acme.k1.short", &good] {
        assert_eq!(world.caller(header).unwrap_err().code, Code::Unauthenticated, "{header}");
    }
    assert_eq!(world.auth.authenticate(&HeaderMap::new()).unwrap_err().code, Code::Unauthenticated);
}

#[tokio::test]
async fn a_revoked_key_is_dead_at_once_and_an_expired_one_at_its_time() {
    let world = World::new().await;
    world.account("acme").await;
    let revoked = world.key("acme", "k1", Role::Reader, None).await;
    let stays = world.key("acme", "k2", Role::Reader, None).await;
    let expires = world.key("acme", "k3", Role::Reader, Some(NOW.plus(Duration::from_secs(10)))).await;
    let opens = |key: &str| world.caller(&format!("Bearer {key}")).is_ok();
    assert!(opens(&revoked) && opens(&stays) && opens(&expires)); // All three are remembered now.
    world.execute("acme", Command::RevokeApiKey { key: KeyId::parse("k1").unwrap() }).await;
    assert!(!opens(&revoked), "revoked");
    assert!(opens(&stays));
    world.clock.advance(Duration::from_secs(10));
    assert!(!opens(&expires), "expired");
}

#[test]
fn a_look_up_that_raced_with_a_revocation_is_not_remembered() {
    let keys = KnownKeys::new();
    let account = AccountId::parse("acme").unwrap();
    let key = KeyId::parse("k1").unwrap();
    let known = KnownKey { account: account.clone(), key: key.clone(), role: Role::Reader, expires_at: None };
    let hash = blake3::hash(b"k1");
    let before = keys.revocations();
    keys.applied(&account, 2, NOW, &steward_actors::domain::account::Event::ApiKeyRevoked { key });
    keys.remember(hash, known.clone(), before);
    assert_eq!(keys.get(&hash), None);
    keys.remember(hash, known, keys.revocations());
    assert!(keys.get(&hash).is_some());
}

#[test]
fn the_operators_key_is_made_once_and_read_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("operator.key");
    let made = open_operator_key(&path).unwrap();
    assert_eq!(open_operator_key(&path).unwrap(), made);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(Key::parse(text.trim()), Some(Key::Operator { hash: made }));
    std::fs::write(&path, "stw_operator.short").unwrap();
    assert!(open_operator_key(&path).is_err());
}
