//! Blobs in a real object store: durable there first, brought from there, checked, and told clearly when it is away.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use steward_proto::job::v1::JobState;
use steward_tests::harness::{Node, NodeBuilder, ObjectStore, Reply, WAIT_MAX, data, eventually, headers};

use crate::pipeline::recording;
use crate::uploads::{bring, ended, head, patch, upload};

const MIB: usize = 1 << 20;

fn with_store(store: &ObjectStore, prefix: &str) -> NodeBuilder {
    store.settings(prefix).iter().fold(Node::builder(), |builder, setting| builder.set(setting))
}

/// Bytes that no other blob has.
fn bytes_of(length: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
    bytes
}

async fn part(node: &Node, account: &str, hash: &str, range: &str) -> Reply {
    let key = format!("Bearer {}", node.key());
    let asked = headers(&[("authorization", key.as_str()), ("range", range)]);
    node.request("GET", &format!("/v1/accounts/{account}/blobs/{hash}"), &asked, b"").await
}

async fn get(node: &Node, account: &str, hash: &str) -> Reply {
    part(node, account, hash, "bytes=0-").await
}

/// Brings a file that is large for one request.
async fn bring_in_pieces(node: &Node, account: &str, bytes: &[u8]) -> String {
    let path = upload(node, account, bytes.len()).await;
    let mut told = None;
    for (at, piece) in bytes.chunks(MIB).enumerate() {
        let reply = patch(node, &path, at * MIB, piece).await;
        assert_eq!(reply.status, 204, "{}", reply.text());
        told = reply.header("upload-blob").map(str::to_owned);
    }
    told.expect("it is whole")
}

/// The file of a blob in a node's folder.
fn cached(node: &Node, hash: &str) -> PathBuf {
    node.data_dir().join("blobs").join(&hash[..2]).join(hash)
}

/// Bytes of all blobs in a folder.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("a folder can be read").path());
    entries
        .map(|path| if path.is_dir() { bytes_in(&path) } else { fs::metadata(&path).map_or(0, |file| file.len()) })
        .sum()
}

#[tokio::test]
async fn a_blob_is_in_the_store_when_it_is_acknowledged_and_comes_back_from_there() {
    let store = ObjectStore::start();
    let mut node = with_store(&store, "a").start();
    let api = node.api().await;
    for account in ["acme", "other"] {
        api.create_account(account).await;
    }
    // Two whole parts and some, so that it goes in parts.
    let bytes = bytes_of(17 * MIB + 5, 1);
    let hash = bring_in_pieces(&node, "acme", &bytes).await;
    let object = store.object("a", "acme", &hash);
    assert!(fs::read(&object).expect("it is there when the answer comes") == bytes);
    assert_eq!(bring_in_pieces(&node, "other", &bytes).await, hash);
    assert_eq!(store.count("a", "other"), 1, "each account has its own");

    let video = fs::read(recording("meeting_360p_25s.mp4")).expect("the recording is there");
    let input = bring(&node, "acme", &video).await;
    node.kill();
    for hash in [&hash, &input] {
        fs::remove_file(cached(&node, hash)).expect("it was in the folder");
    }
    node.restart();
    let api = node.api().await;
    let part = part(&node, "acme", &hash, "bytes=8388600-8388619").await;
    assert_eq!((part.status, part.body.as_slice()), (206, &bytes[8_388_600..8_388_620]));
    assert!(api.blob("acme", &hash).await == bytes);

    let job = api.create_job("acme", "thumbnail", &json!({"blob": input})).await;
    let made = ended(&api, "acme", &job).await;
    assert_eq!(made.state(), JobState::Succeeded, "{made:?}");
    assert!(store.count("a", "acme") > 2, "what a task made is there as well");
}

#[tokio::test]
async fn while_the_store_is_away_clients_hear_so_and_nothing_is_lost() {
    let mut store = ObjectStore::start();
    let mut node = with_store(&store, "b")
        .expecting("an upload could not be copied")
        .expecting("a blob cannot be brought")
        .expecting("could not be brought to the object store")
        .expecting("the object store does not answer")
        .start();
    let api = node.api().await;
    api.create_account("acme").await;
    let before = bring(&node, "acme", b"before").await;
    let path = upload(&node, "acme", 5).await;
    store.kill();
    let refused = patch(&node, &path, 0, b"hello").await;
    let problem = refused.problem(503, "blob_store_unavailable");
    assert!(refused.header("retry-after").is_some(), "{problem}");
    assert!(api.feed_of("acme", "blob.uploaded").await.len() == 1, "no event names what is not durable");
    assert!(node.metric("steward_blob_store_requests_total{what=\"look\",outcome=\"failed\"}").await > 0);

    // It starts without the store, and says so to whoever asks for what is there only.
    node.kill();
    fs::remove_file(cached(&node, &before)).expect("it was in the folder");
    node.restart();
    get(&node, "acme", &before).await.problem(503, "blob_store_unavailable");
    assert_eq!(head(&node, &path).await.status, 503);

    store.restart();
    let whole = head(&node, &path).await;
    let hash = blake3::hash(b"hello").to_hex();
    assert_eq!(whole.header("upload-blob"), Some(hash.as_str()), "{whole:?}");
    let api = node.api().await;
    assert_eq!(api.blob("acme", &before).await, b"before");
    let uploaded = api.feed_of("acme", "blob.uploaded").await;
    assert_eq!(
        uploaded.iter().map(|event| data(event)["blob"].clone()).collect::<Vec<_>>(),
        [json!(before), json!(hash.as_str())]
    );
    assert_eq!(store.count("b", "acme"), 2);
}

#[tokio::test]
async fn bytes_that_are_damaged_in_the_store_are_never_served() {
    let store = ObjectStore::start();
    let mut node = with_store(&store, "c").expecting("a blob cannot be brought").start();
    let api = node.api().await;
    api.create_account("acme").await;
    let hash = bring(&node, "acme", &bytes_of(MIB, 2)).await;
    node.kill();
    fs::remove_file(cached(&node, &hash)).expect("it was in the folder");
    let object = store.object("c", "acme", &hash);
    let mut bytes = fs::read(&object).expect("it is in the store");
    bytes[MIB / 2] ^= 1;
    fs::write(&object, &bytes).expect("it can be damaged");
    node.restart();
    get(&node, "acme", &hash).await.problem(500, "blob_damaged");
    assert!(!cached(&node, &hash).exists(), "nothing of it is kept");
    assert_eq!(bytes_in(&node.data_dir().join("blobs/incoming")), 0);
}

#[tokio::test]
async fn a_store_that_does_not_let_a_node_in_is_no_place_to_start_with() {
    let store = ObjectStore::start();
    let mut node = with_store(&store, "d").expecting("does not let this node in").expecting("<Error>").start();
    assert!(node.terminate().await.success());
    node.set("blobs.access_key_id=STRANGER");
    node.set("blobs.secret_access_key=text:s3cret");
    let said = node.refuses_to_start();
    assert!(said.contains("check the bucket, the region and the credentials"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");

    let mut stranger = Node::builder().expecting("belongs to another cluster").start();
    assert!(stranger.terminate().await.success());
    for setting in store.settings("d") {
        stranger.set(&setting);
    }
    let said = stranger.refuses_to_start();
    assert!(said.contains("belongs to another cluster"), "{said}");
}

#[tokio::test]
async fn blobs_from_before_the_store_are_brought_there_and_then_the_folder_is_a_cache() {
    let store = ObjectStore::start();
    let mut node = Node::builder().expecting("blobs.store must stay what it was").start();
    let api = node.api().await;
    api.create_account("acme").await;
    let mut hashes = vec![];
    for seed in 0..4 {
        hashes.push(bring(&node, "acme", &bytes_of(MIB, seed)).await);
    }
    assert!(node.terminate().await.success());
    for setting in store.settings("e").iter().map(String::as_str).chain(["blobs.cache_mib=2"]) {
        node.set(setting);
    }
    node.restart();
    let folder = node.data_dir().join("blobs");
    // Uploads that are remembered lie there as well.
    let limit = u64::try_from(2 * MIB + MIB / 2).expect("it is small");
    let shrunk = async || (store.count("e", "acme") == 4 && bytes_in(&folder) <= limit).then_some(());
    eventually(WAIT_MAX, "all to be in the store and the folder to be small", shrunk).await;
    let api = node.api().await;
    for (seed, hash) in hashes.iter().enumerate() {
        let want = bytes_of(MIB, u8::try_from(seed).expect("there are few"));
        assert!(api.blob("acme", hash).await == want, "{seed}");
        assert!(bytes_in(&folder) <= limit, "the cache stays bounded");
    }
    assert!(node.terminate().await.success());
    node.set("blobs.store=");
    node.set("blobs.endpoint=");
    node.set("blobs.access_key_id=");
    node.set("blobs.secret_access_key=");
    let said = node.refuses_to_start();
    assert!(said.contains("blobs.store must stay what it was"), "{said}");
}
