//! The command line: settings, vectors, and `ctl` as scripts use it.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};
use steward_tests::harness::{Node, Platform, headers, now_ms, steward_beside, workspace};

fn steward(args: &[&str]) -> Output {
    Command::new(steward_beside()).args(args).output().expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn settings_are_shown_with_their_origins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(
        &file,
        "[http]\nbody_bytes_max = 2000\n[[ai.providers]]\nname = \"p\"\nbase_url = \"https://p\"\napi_key = \"sk-1\"\n",
    )
    .unwrap();
    let shown = Command::new(steward_beside())
        .args(["config", "show", "--origin", "--set", "log.level=debug", "--config"])
        .arg(&file)
        .env("STEWARD_STORAGE_SHARDS", "8")
        .output()
        .unwrap();
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    let line =
        |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("no {key}: {shown}"));
    assert!(line("body_bytes_max").contains("2000") && line("body_bytes_max").contains("config.toml"), "{shown}");
    assert!(line("shards").contains("= 8") && line("shards").contains("environment STEWARD_STORAGE_SHARDS"), "{shown}");
    assert!(line("level").contains("debug") && line("level").contains("flag --set"), "{shown}");
    assert!(line("segment_mib").contains("default"), "{shown}");
    assert!(!shown.contains("sk-1"), "secrets are masked: {shown}");
}

#[test]
fn wrong_settings_are_named() {
    for (args, wanted) in [
        (
            ["--set", "http.body_byte_max=1"],
            "unknown key http.body_byte_max (flag --set); the nearest one is http.body_bytes_max",
        ),
        (["--set", "storage.shards=0"], "storage.shards must be 1 to 4096"),
        (["--set", "storage.shards=many"], "storage.shards (flag --set) must be integer"),
        (["--http-listen", "here"], "http.listen"),
    ] {
        let checked = steward(&[&["config", "check"], &args[..]].concat());
        assert_eq!(checked.status.code(), Some(1), "{args:?}");
        assert!(text(&checked.stderr).contains(wanted), "{args:?}: {}", text(&checked.stderr));
        let started = steward(&[&["node"], &args[..]].concat());
        assert!(!started.status.success() && text(&started.stderr).contains(wanted), "{args:?}");
    }
    let open = steward(&["config", "check", "--set", "auth.enabled=false", "--http-listen", "0.0.0.0:0"]);
    assert!(text(&open.stderr).contains("http.listen must be a loopback address"), "{}", text(&open.stderr));
    assert!(steward(&["config", "check"]).status.success());
}

#[test]
fn the_verifier_agrees_with_the_vectors() {
    let vectors = workspace().join("tests/fixtures/vectors/webhooks.json");
    let run = steward(&["webhook", "verify", "--vectors", &vectors.display().to_string()]);
    let said = text(&run.stdout);
    assert!(run.status.success(), "{said}{}", text(&run.stderr));
    let (passed, rest) = said.lines().find_map(|line| line.split_once(" passed, ")).expect("totals are printed");
    assert!(passed.parse::<u32>().unwrap() >= 100 && rest.starts_with("0 failed"), "{said}");

    // One that is expected to hold and does not.
    let file: Value = serde_json::from_str(&fs::read_to_string(vectors).unwrap()).unwrap();
    let mut broken =
        file["vectors"].as_array().unwrap().iter().find(|vector| vector["scheme"] == "zoom-v0").unwrap().clone();
    broken["secret"] = json!("another");
    broken["expect"] = json!("ok");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.json");
    fs::write(&path, json!({"vectors": [broken]}).to_string()).unwrap();
    let run = steward(&["webhook", "verify", "--vectors", &path.display().to_string()]);
    assert_eq!(run.status.code(), Some(1), "{}", text(&run.stdout));
    assert!(text(&run.stdout).contains("1 failed"), "{}", text(&run.stdout));
}

#[tokio::test]
async fn ctl_does_what_the_api_does() {
    let node = Node::start();
    let made = node.ctl_json(&["account", "create", "acme", "--name", "Acme, Inc."]);
    assert_eq!((&made["account"], &made["name"]), (&json!("acme"), &json!("Acme, Inc.")));
    assert_eq!(node.ctl_json(&["account", "list"]).as_array().unwrap().len(), 1);
    let key = node.ctl_json(&["account", "key", "create", "acme", "--role", "reader", "--label", "bi"]);
    assert!(key["secret"].as_str().unwrap().starts_with("stw_acme."), "{key}");
    let listed = node.ctl_json(&["account", "key", "list", "acme"]);
    assert_eq!((&listed[0]["label"], &listed[0]["secret"]), (&json!("bi"), &Value::Null));

    let secret = Platform::Zoom.secret();
    let source = node.ctl_json(&["source", "create", "acme", "zoom", "--scheme", "zoom-v0", "--secret", secret]);
    let path = source["path"].as_str().unwrap().to_owned();
    let delivery = Platform::Zoom.sample(1);
    assert_eq!(node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await.status, 200);
    let listed = node.ctl_json(&["source", "list", "acme"]).to_string();
    assert!(!listed.contains(secret), "a source's secret is not shown: {listed}");

    let endpoint =
        node.ctl_json(&["endpoint", "create", "acme", "crm", "--url", "https://crm.example/in", "--on", "deal.*"]);
    assert!(endpoint["secret"].as_str().unwrap().starts_with("whsec_"), "{endpoint}");
    assert_eq!(node.ctl_json(&["endpoint", "list", "acme"])[0]["state"], "active");
    let playbook =
        ["playbook", "put", "acme", "p", "--on", "webhook.**", "--job", "probe", "--input", r#"{"url": "{{/x}}"}"#];
    assert_eq!(node.ctl_json(&playbook)["job"], "probe");

    let input = r#"{"url": "http://10.0.0.1/never.mp4"}"#;
    let job = node.ctl_json(&["job", "create", "acme", "probe", "--input", input]);
    let name = job["job"].as_str().unwrap();
    let waited = node.ctl(&["job", "wait", "acme", name, "--json"]);
    assert_eq!(waited.status.code(), Some(1), "a failed job is a failed command");
    let job = node.ctl_json(&["job", "show", "acme", name]);
    assert_eq!(job["state"], "failed");
    assert!(job["error"].as_str().unwrap().starts_with("egress_refused: "), "{job}");
    assert_eq!(node.ctl_json(&["job", "list", "acme"])[0]["job"], name);

    let events = node.ctl_json(&["event", "list", "acme", "--type", "webhook.**"]);
    assert_eq!(events[0]["type"], "webhook.zoom.recording.completed");
    let followed = node.ctl(&["event", "follow", "acme", "--after", "0", "--until-now", "--json"]);
    let seqs: Vec<u64> = text(&followed.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=u64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(node.ctl_json(&["node"])["engine"], "fjall");
}

#[tokio::test]
async fn ctl_complains_in_one_line() {
    let node = Node::start();
    for (args, wanted) in [
        (vec!["account", "get", "nobody"], "steward: not_found: "),
        (vec!["account", "create", "No Body"], "steward: invalid_argument: account_id must be 1 to 64"),
        (vec!["account", "list", "--key", "stw_wrong"], "steward: unauthenticated: "),
    ] {
        let mut command = Command::new(node.steward());
        command.arg("ctl").args(&args).args(["--address", &node.grpc_url()]).env("STEWARD_KEY", node.key());
        let output = command.output().unwrap();
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{args:?}: {said}");
        assert!(said.starts_with(wanted), "{args:?}: {said}");
    }
    let nobody = steward(&["ctl", "node", "--address", "http://127.0.0.1:1", "--key", "k"]);
    assert!(text(&nobody.stderr).contains("no node answers at http://127.0.0.1:1"), "{}", text(&nobody.stderr));
}

#[tokio::test]
async fn blobs_are_the_accounts_own() {
    let node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    let bearer = format!("Bearer {}", node.key());
    let ask = async |hash: &str| {
        let path = format!("/v1/accounts/acme/blobs/{hash}");
        node.request("GET", &path, &headers(&[("authorization", &bearer)]), b"").await
    };
    ask(&"0".repeat(64)).await.problem(404, "not_found");
    ask("../../../etc/passwd").await.problem(404, "route_unknown");
    let problem = ask("ABC").await.problem(400, "invalid_argument");
    assert_eq!(problem["violations"][0]["field"], "hash");
}
