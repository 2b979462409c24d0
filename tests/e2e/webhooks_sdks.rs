//! Webhooks that the platforms' own SDKs sign, or vouch for, at this very moment: accepted; with one byte changed, refused.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use steward_tests::harness::{Api, Node, data, workspace};

use crate::webhooks_in::public_url;

/// Where `scripts/sdks` puts them.
fn sdks() -> PathBuf {
    let folder = workspace().join(".sdks");
    assert!(folder.join("ready").exists(), "the official SDKs are not there; scripts/setup --tests installs them");
    folder
}

fn fixture(name: &str) -> PathBuf {
    workspace().join("tests/fixtures/sdk").join(name)
}

/// A sender at work: asks where to send, then tells what became of it.
struct Sender(Child);

impl Sender {
    fn start(mut command: Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the sender starts"))
    }

    /// Gives each scheme of the sender an account with a source, lets it send, and returns its lines by scheme.
    async fn send(mut self, node: &Node, api: &Api) -> BTreeMap<String, Value> {
        let mut lines = BufReader::new(self.0.stdout.take().expect("it has an output")).lines();
        let mut next = || lines.next().map(|line| line.expect("it prints text"));
        let secrets = next().expect("the sender prints its secrets; see its errors above");
        let secrets: BTreeMap<String, String> = serde_json::from_str(&secrets).expect("they are JSON");
        let mut urls = BTreeMap::new();
        for (scheme, secret) in &secrets {
            api.create_account(scheme).await;
            let path = api.create_source(scheme, "in", scheme, secret).await;
            urls.insert(scheme.clone(), public_url(node, &path));
        }
        let places = json!({"address": node.http(), "urls": urls});
        let mut input = self.0.stdin.take().expect("it has an input");
        writeln!(input, "{places}").expect("it reads where to send");
        let mut told = BTreeMap::new();
        while let Some(line) = next() {
            let line: Value = serde_json::from_str(&line).expect("it prints JSON");
            told.insert(line["scheme"].as_str().expect("a line names its scheme").to_owned(), line);
        }
        assert!(self.0.wait().expect("it ends").success(), "the sender failed; see its errors above");
        assert!(told.keys().eq(secrets.keys()), "a line for each scheme: {told:?}");
        told
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.kill().ok(); // It has ended unless the test failed.
        self.0.wait().ok();
    }
}

/// What the SDK and the node said of both requests, and what is on the feed.
async fn judge(api: &Api, scheme: &str, told: &Value) -> Value {
    let (whole, changed) = (&told["whole"], &told["changed"]);
    assert_eq!((&whole["sdk"], &whole["status"]), (&json!(true), &json!(200)), "{told}");
    assert_eq!(whole["answer"]["duplicate"], false, "{told}");
    assert_eq!((&changed["sdk"], &changed["status"]), (&json!(false), &json!(401)), "{told}");
    assert_eq!(changed["answer"]["code"], "bad_signature", "{told}");

    let events = api.feed(scheme).await;
    let webhooks: Vec<Value> = events.iter().filter(|event| event.r#type.starts_with("webhook.")).map(data).collect();
    assert_eq!(webhooks.len(), 1, "{scheme}: {webhooks:?}");
    let sent = told["body"].as_str().expect("a line has the body that was sent");
    match serde_json::from_str::<Value>(sent) {
        // A batch of one is its item.
        Ok(Value::Array(items)) => assert_eq!(vec![webhooks[0]["body"].clone()], items),
        Ok(sent) => assert_eq!(webhooks[0]["body"], sent),
        Err(_) => assert_eq!(webhooks[0]["body_text"], sent),
    }
    webhooks[0]["common"].clone()
}

#[tokio::test]
async fn python_sdks_sign_for_a_running_node() {
    let node = Node::start();
    let api = node.api().await;
    let mut command = Command::new(sdks().join("python/bin/python"));
    command.arg(fixture("senders.py"));
    let told = Sender::start(command).send(&node, &api).await;
    let schemes = [
        "sendgrid-ecdsa",
        "slack-v0",
        "standard-webhooks-v1",
        "stripe-v1",
        "svix-v1",
        "twilio-form-sha1",
        "twilio-json-bodysha256",
        "twilio-sharedkey-sha256",
    ];
    assert!(told.keys().eq(schemes), "{:?}", told.keys());
    for (scheme, line) in &told {
        let common = judge(&api, scheme, line).await;
        let expected = match scheme.as_str() {
            "stripe-v1" => ("/who/email", "jenny@example.com"),
            "slack-v0" => ("/what/action", "mentioned"),
            _ => continue,
        };
        assert_eq!(common.pointer(expected.0), Some(&json!(expected.1)), "{scheme}: {common}");
    }
}

#[tokio::test]
async fn javascript_sdks_sign_for_a_running_node() {
    let node = Node::start();
    let api = node.api().await;
    // Packages are looked for from the folder a program runs in, when it is given as text.
    let program = std::fs::read_to_string(fixture("senders.mjs")).expect("the sender is there");
    let mut command = Command::new("node");
    command.args(["--input-type=module", "--eval", &program]).current_dir(sdks().join("node"));
    let told = Sender::start(command).send(&node, &api).await;
    assert!(told.keys().eq(["github-hub256", "shopify-events-hmac", "shopify-hmac"]), "{:?}", told.keys());
    for (scheme, line) in &told {
        let common = judge(&api, scheme, line).await;
        if scheme == "github-hub256" {
            let link = common.pointer("/link");
            assert_eq!(link, Some(&json!("https://github.com/o/h/issues/1347")), "{common}");
        }
    }
}
