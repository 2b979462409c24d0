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
    let speech = |engine: &str| format!("speech.engines=[{{{engine}}}]");
    for (assignment, want) in [
        ("http.body_bytes_max=much", "http.body_bytes_max (flag --set) must be integer"),
        ("auth.enabled=perhaps", "auth.enabled (flag --set) must be boolean"),
        ("http.body_bytes_max=0", "http.body_bytes_max must be 1 to 1048576"),
        ("storage.engine=rocks", "unknown variant `rocks`"),
        ("http.listen=here", "invalid socket address"),
        ("log.level=a=b=c", "log.level must be"),
        ("ai.providers=[{name = \"local\", base_url = \"https://a\"}]", "ai.providers.name must"),
        ("speech.default_engine=cloud", "speech.default_engine must be local or one of"),
        (&speech("name = \"local\", url = \"https://a\", model = \"m\""), "speech.engines.name must"),
        (&speech("name = \"a\", url = \"ftp://a\", model = \"m\""), "speech.engines.url must"),
        (&speech("name = \"a\", url = \"https://a\", model = \"\""), "speech.engines.model must"),
        (&speech("name = \"a\", url = \"https://a\", model = \"m\", key = \"sk-1\""), "speech.engines.key must"),
        (&speech("name = \"a\", url = \"https://a\", model = \"m\", protocol = \"grpc\""), "unknown variant `grpc`"),
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
    let engine =
        |key: &str| format!("speech.engines=[{{name = \"x\", url = \"https://a\", model = \"m\", key = \"{key}\"}}]");
    let shown = |key: &str| show(&Layers::defaults().assignments(&[engine(key)]), true);
    assert!(!shown("text:sk-secret").contains("sk-secret") && shown("env:SPEECH_KEY").contains("env:SPEECH_KEY"));
}

#[test]
fn the_documented_file_holds_every_key_with_its_default() {
    let documented: toml::Table = include_str!("../../../deploy/config.toml").parse().unwrap();
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    assert_eq!(documented, defaults);
}

#[test]
fn declared_sources_are_read_and_their_secrets_in_clear_are_masked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    let text = r#"
[[webhooks.sources]]
account = "acme"
source = "github"
scheme = "github-hub256"
secrets = ["file:/run/secrets/github", "env:GITHUB_SECRET", "text:s3cret"]
tolerance_s = 60
rate_per_s = 5
allow = ["192.0.2.0/24"]
response = { status = 202, content_type = "text/plain", body = "ok" }
[[webhooks.sources]]
account = "acme"
source = "tasks"
scheme = "asana-hook"
"#;
    std::fs::write(&file, text).unwrap();
    let mut layers = Layers::defaults().file(&file);
    let sources = layers.load().unwrap().webhooks.sources;
    assert_eq!((sources.len(), sources[0].secrets.len(), sources[1].tolerance_s), (2, 3, None));
    assert!(!format!("{sources:?}").contains("s3cret"));
    let shown = show(&layers, false);
    assert!(!shown.contains("s3cret") && shown.contains("\"********\""), "{shown}");
    assert!(shown.contains("file:/run/secrets/github") && shown.contains("env:GITHUB_SECRET"), "{shown}");
}

#[test]
fn a_declared_source_that_cannot_be_names_the_field_and_the_rule() {
    let good = [("account", "\"a\""), ("source", "\"s\""), ("scheme", "\"slack-v0\""), ("secrets", "[\"text:x\"]")];
    let table = |field: &str, value: &str| {
        let mut fields: Vec<String> =
            good.iter().filter(|(name, _)| *name != field).map(|(name, value)| format!("{name}={value}")).collect();
        fields.push(format!("{field}={value}"));
        format!("{{{}}}", fields.join(", "))
    };
    let set =
        |tables: &[String]| Layers::defaults().assignments(&[format!("webhooks.sources=[{}]", tables.join(", "))]);
    assert!(set(&[table("tolerance_s", "1"), table("source", "\"other\"")]).load().is_ok());
    let many = format!("[{}]", ["\"10.0.0.0/8\""; 65].join(","));
    let long = format!("{{status=200, body=\"{}\"}}", "x".repeat(1025));
    for (field, value, want) in [
        ("account", "\"A b\"", "account must be 1 to 64 characters of a-z"),
        ("source", "\"\"", "source must be 1 to 64 characters of a-z"),
        ("scheme", "\"slack\"", "scheme must be a known scheme; `steward webhook schemes` lists them"),
        ("secrets", "[]", "secrets must hold 1 to 4 secrets"),
        ("secrets", "[\"text:x\", \"bare\"]", "secrets[1] must be \"file:PATH\", \"env:NAME\" or, in clear, \"text:"),
        ("public_url", "\"ftp://a\"", "public_url must be an http or https URL"),
        ("allow", "[\"here\"]", "allow[0] must be an address or a network"),
        ("allow", &many, "allow must hold at most 64 networks"),
        ("response", "{status=500}", "response.status must be 200 to 299"),
        ("response", "{status=200, content_type=\"a\\u0000\"}", "response.content_type must be what an HTTP header"),
        ("response", &long, "response.body must have at most 1024 bytes"),
    ] {
        let text = refused(set(&[table(field, value)]));
        assert!(text.contains(&format!("webhooks.sources[0].{want}")), "{field}={value}: {text}");
        assert!(!text.contains("bare\""), "{text}");
    }
    let twice = refused(set(&[table("tolerance_s", "1"), table("tolerance_s", "2")]));
    assert!(twice.contains("webhooks.sources[1].source must be declared once: account \"a\" has \"s\""), "{twice}");
    let unknown = refused(set(&[table("shceme", "1")]));
    assert!(unknown.contains("unknown field `shceme`"), "{unknown}");
    let missing = refused(Layers::defaults().assignments(&["webhooks.sources=[{account=\"a\"}]".to_owned()]));
    assert!(missing.contains("missing field `source`"), "{missing}");
}

#[test]
fn a_proxy_has_one_form_and_what_belongs_to_it_needs_it() {
    let set = |assignments: &[&str]| {
        let all: Vec<String> = assignments.iter().map(|text| (*text).to_owned()).collect();
        Layers::defaults().assignments(&all)
    };
    let (proxy, clear) = ("egress.proxy=http://proxy.example:3128", "egress.proxy_credentials=text:steward:s3cret");
    let mut whole = set(&[proxy, clear, "egress.proxy_except=127.0.0.1,10.0.0.0/8,models.example"]);
    assert_eq!(whole.load().unwrap().egress.proxy_except.len(), 3);
    let shown = show(&whole, false);
    assert!(shown.contains("proxy_credentials = \"********\"") && !shown.contains("s3cret"), "{shown}");
    let unused = "egress.proxy_credentials and egress.proxy_except must be empty while egress.proxy is";
    for (assignments, want) in [
        (vec!["egress.proxy=https://proxy.example:3128"], "egress.proxy must be http://host:port"),
        (vec!["egress.proxy=http://proxy.example"], "egress.proxy must be http://host:port"),
        (vec![proxy, "egress.proxy_credentials=steward:s3cret"], "egress.proxy_credentials must be \"file:PATH\""),
        (vec![proxy, "egress.proxy_except=10.0.0.0/33"], "egress.proxy_except must hold networks"),
        (vec![clear], unused),
        (vec!["egress.proxy_except=a"], unused),
    ] {
        let text = refused(set(&assignments));
        assert!(text.contains(want) && !text.contains("s3cret"), "{assignments:?}: {text}");
    }
}
