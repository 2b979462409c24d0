//! Settings: layers, unknown keys, limits, secrets, and the documented file.

use std::ffi::OsString;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

#[track_caller]
fn refused(mut layers: Layers) -> String {
    layers.load().unwrap_err().to_string()
}

#[test]
fn later_layers_win_and_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "[http]\nlisten = \"127.0.0.1:1\"\nbody_bytes_max = 10\n[grpc]\nlisten = \"127.0.0.1:2\"")
        .unwrap();
    let mut layers = Layers::defaults()
        .file(&file)
        .environment(
            environment(&[("STEWARD_HTTP_LISTEN", "127.0.0.1:3"), ("HOME", "/x"), ("STEWARD_KEY", "x")]).into_iter(),
        )
        .flag("--grpc-listen", "grpc.listen", Some("127.0.0.1:4"))
        .flag("--http-listen", "http.listen", None);
    let config = layers.load().unwrap();
    assert_eq!(config.http.listen.port(), 3);
    assert_eq!(config.http.body_bytes_max, 10);
    assert_eq!(config.grpc.listen.port(), 4);
    let shown = show(&layers, true);
    assert!(shown.contains("listen = \"127.0.0.1:3\"  # environment STEWARD_HTTP_LISTEN"), "{shown}");
    assert!(shown.contains("# flag --grpc-listen"), "{shown}");
    assert!(shown.contains("body_bytes_max = 10  # file "), "{shown}");
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "surprise = 1\n[http]\nlisen = \"127.0.0.1:1\"").unwrap();
    let text = refused(Layers::defaults().file(&file));
    assert!(text.contains("unknown key http.lisen (file "), "{text}");
    assert!(text.contains("the nearest one is http.listen"), "{text}");
    assert!(text.contains("unknown key surprise"), "{text}");
    let text = refused(Layers::defaults().environment(environment(&[("STEWARD_GRPC_LISTN", "x")]).into_iter()));
    assert!(text.contains("STEWARD_GRPC_LISTN") && text.contains("nearest one is STEWARD_GRPC_LISTEN"), "{text}");
    let text = refused(Layers::defaults().assignments(&["tasks.cpu_slot=1".to_owned(), "nonsense".to_owned()]));
    assert!(text.contains("nearest one is tasks.cpu_slots") && text.contains("nonsense must have the form"), "{text}");
}

#[test]
fn values_of_the_wrong_type_or_outside_their_limits_name_the_key() {
    let set = |assignment: &str| refused(Layers::defaults().assignments(&[assignment.to_owned()]));
    for (assignment, want) in [
        ("http.body_bytes_max=much", "http.body_bytes_max (flag --set) must be integer"),
        ("auth.enabled=perhaps", "auth.enabled (flag --set) must be boolean"),
        ("http.body_bytes_max=0", "http.body_bytes_max must be 1 to 1048576"),
        ("storage.engine=rocks", "unknown variant `rocks`"),
        ("http.listen=here", "invalid socket address"),
        ("log.level=a=b=c", "log.level must be"),
        ("ai.providers=[{name = \"local\", base_url = \"https://a\"}]", "ai.providers.name must"),
    ] {
        let text = set(assignment);
        assert!(text.contains(want), "{assignment}: {text}");
    }
}

#[test]
fn listening_beyond_this_machine_needs_authentication() {
    let open = |auth: &str| {
        let assignments = ["http.listen=0.0.0.0:1".to_owned(), format!("auth.enabled={auth}")];
        Layers::defaults().assignments(&assignments)
    };
    assert!(refused(open("false")).contains("http.listen must be a loopback address"));
    assert!(open("true").load().is_ok());
}

#[test]
fn a_cluster_is_named_found_reached_and_encrypted() {
    let set = |assignments: &[&str]| {
        let whole = ["cluster.name=c", "cluster.etcd=http://a:2379", "cluster.plaintext=true"];
        let all: Vec<String> = whole.iter().chain(assignments).map(|text| (*text).to_owned()).collect();
        Layers::defaults().assignments(&all)
    };
    assert!(set(&[]).load().is_ok());
    assert!(set(&["cluster.listen=0.0.0.0:7422", "cluster.advertise=n1.example:7422"]).load().is_ok());
    let files = ["cluster.ca_file=/a", "cluster.cert_file=/b", "cluster.key_file=/c"];
    assert!(set(&[&["cluster.plaintext=false"][..], &files].concat()).load().is_ok());
    for (assignments, want) in [
        (vec!["cluster.name="], "cluster.etcd must be empty while cluster.name is"),
        (vec!["cluster.name=My"], "cluster.name must be at most 63 characters"),
        (vec!["cluster.name=c-"], "cluster.name must be at most 63 characters"),
        (vec!["cluster.etcd="], "cluster.etcd must name at least one endpoint"),
        (vec!["cluster.etcd=a:2379"], "cluster.etcd must hold http URLs, or https URLs only"),
        (vec!["cluster.etcd=http://a:2379,https://b:2379"], "cluster.etcd must hold http URLs, or https URLs only"),
        (vec!["cluster.etcd=https://a:2379"], "cluster.etcd_ca_file must be set while cluster.etcd holds https URLs"),
        (
            vec!["cluster.etcd=https://a:2379", "cluster.etcd_ca_file=/ca", "cluster.etcd_key_file=/key"],
            "cluster.etcd_cert_file and cluster.etcd_key_file must be set together",
        ),
        (vec!["cluster.etcd_ca_file=/ca"], "must be empty while cluster.etcd holds http URLs"),
        (vec!["cluster.replicas=2"], "cluster.replicas must be 1, 3 or 5"),
        (vec!["cluster.election_ms=199"], "cluster.election_ms must be 200 to 10000"),
        (vec!["cluster.listen=0.0.0.0:7422"], "cluster.advertise must be set while cluster.listen names no address"),
        (vec!["cluster.advertise=n1.example"], "cluster.advertise must be host:port"),
        (vec!["cluster.advertise=n1.example:0"], "cluster.advertise must be host:port"),
        (vec!["cluster.advertise=http://n1:7422"], "cluster.advertise must be host:port"),
        (vec!["cluster.plaintext=false", "cluster.ca_file=/a"], "cluster.key_file must all be set unless"),
        (vec!["cluster.key_file=/c"], "cluster.plaintext must be false while"),
        (vec!["node.zone=Zone 1"], "node.zone must be at most 63 characters"),
    ] {
        let text = refused(set(&assignments));
        assert!(text.contains(want), "{assignments:?}: {text}");
    }
}

#[test]
fn secrets_are_masked() {
    let providers = "ai.providers=[{name = \"x\", base_url = \"https://a\", api_key = \"sk-secret\"}]".to_owned();
    let mut layers = Layers::defaults().assignments(&[providers]);
    assert_eq!(layers.load().unwrap().ai.providers[0].api_key, "sk-secret");
    let shown = show(&layers, true);
    assert!(!shown.contains("sk-secret") && shown.contains("********"), "{shown}");
}

#[test]
fn the_documented_file_holds_every_key_with_its_default() {
    let documented: toml::Table = include_str!("../../../deploy/config.toml").parse().unwrap();
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    assert_eq!(documented, defaults);
}
