//! Limits of settings that their types cannot express.

use std::collections::BTreeSet;

use tracing_subscriber::EnvFilter;

use steward_actors::domain::account::limits::BODY_BYTES_MAX;
use steward_actors::domain::budget::{BUDGET_MAX, CURRENCY_CHARS_MAX};
use steward_actors::egress::{Network, Proxy};
use steward_actors::task::runner::video::speech::LOCAL;

use super::blobs;
use super::error::ConfigError;
use super::secret;
use super::sections::{Ai, Cluster, Config, Egress, Price};
use super::speech::Speech;

/// The longest label of a host name.
const LABEL_LEN_MAX: usize = 63;
/// Engines for speech beside the embedded one: all stand in refusals.
const SPEECH_ENGINES_MAX: usize = 32;
const NAME_RULE: &str = "must be of a-z, 0-9 and '-', and not be \"local\"";
const URL_RULE: &str = "must be an http or https URL";

/// Everything that is outside its limits.
pub(super) fn check(config: &Config) -> Vec<ConfigError> {
    let mut broken = vec![];
    let mut need = |holds: bool, key: &str, rule: &str| {
        if !holds {
            broken.push(ConfigError::Invalid(format!("{key} {rule}")));
        }
    };
    for (key, listen) in [("http.listen", config.http.listen), ("grpc.listen", config.grpc.listen)] {
        let closed = config.auth.enabled || listen.ip().is_loopback();
        need(closed, key, "must be a loopback address while auth.enabled is false");
    }
    let body = config.http.body_bytes_max;
    need((1..=BODY_BYTES_MAX).contains(&body), "http.body_bytes_max", "must be 1 to 1048576");
    need(config.http.connections_max > 0, "http.connections_max", "must be at least 1");
    need(config.grpc.connections_max > 0, "grpc.connections_max", "must be at least 1");
    need(config.grpc.subscriptions_max > 0, "grpc.subscriptions_max", "must be at least 1");
    need(!config.node.data_dir.as_os_str().is_empty(), "node.data_dir", "must not be empty");
    need((1..=3600).contains(&config.node.shutdown_s_max), "node.shutdown_s_max", "must be 1 to 3600");
    need((1..=3600).contains(&config.node.standstill_s), "node.standstill_s", "must be 1 to 3600");
    let ends = config.node.standstill_s_max;
    let later = ends == 0 || (config.node.standstill_s..=86_400).contains(&ends);
    need(later, "node.standstill_s_max", "must be 0, or node.standstill_s to 86400");
    need((1..=4096).contains(&config.storage.shards), "storage.shards", "must be 1 to 4096");
    need((1..=65536).contains(&config.storage.cache_mib), "storage.cache_mib", "must be 1 to 65536");
    need((1..=1024).contains(&config.storage.segment_mib), "storage.segment_mib", "must be 1 to 1024");
    need(config.storage.sync_delay_us <= 1_000_000, "storage.sync_delay_us", "must be at most 1000000");
    need(config.accounts.live_max > 0, "accounts.live_max", "must be at least 1");
    need(config.accounts.feed_events_max > 0, "accounts.feed_events_max", "must be at least 1");
    need(config.accounts.feed_age_days > 0, "accounts.feed_age_days", "must be at least 1");
    need(config.tasks.cpu_slots <= 1024, "tasks.cpu_slots", "must be at most 1024");
    need((1..=10_000).contains(&config.tasks.net_slots), "tasks.net_slots", "must be 1 to 10000");
    need((1..=86_400).contains(&config.tasks.silence_s_max), "tasks.silence_s_max", "must be 1 to 86400");
    need((1..=300).contains(&config.deliveries.timeout_s), "deliveries.timeout_s", "must be 1 to 300");
    need((1..=10_000).contains(&config.deliveries.in_flight_max), "deliveries.in_flight_max", "must be 1 to 10000");
    let absolute = config.video.ffmpeg.is_absolute() && config.video.ffprobe.is_absolute();
    need(absolute, "video.ffmpeg and video.ffprobe", "must be absolute paths");
    need((1..=600).contains(&config.video.chunk_seconds), "video.chunk_seconds", "must be 1 to 600");
    need(EnvFilter::try_new(&config.log.level).is_ok(), "log.level", "must be a level or a list of target=level");
    for provider in &config.ai.providers {
        need(is_name(&provider.name), "ai.providers.name", NAME_RULE);
        need(is_http(&provider.base_url), "ai.providers.base_url", URL_RULE);
    }
    check_prices(&config.ai, &mut need);
    blobs::check(&config.blobs, &mut need);
    check_speech(&config.speech, &mut need);
    check_egress(&config.egress, &mut need);
    check_cluster(config, &mut need);
    broken
}

/// What models cost, and in what.
fn check_prices(ai: &Ai, need: &mut impl FnMut(bool, &str, &str)) {
    let named = !ai.currency.is_empty() && ai.currency.chars().count() <= CURRENCY_CHARS_MAX;
    need(named, "ai.currency", "must have 1 to 16 characters");
    let models: BTreeSet<&str> = ai.prices.iter().map(|price| price.model.as_str()).collect();
    need(models.len() == ai.prices.len(), "ai.prices", "must have one price for a model");
    let whole = models.iter().all(|model| model.contains('/'));
    need(whole, "ai.prices.model", "must be provider/model");
    let priced = |price: &Price| price.input_micros.max(price.output_micros) <= BUDGET_MAX;
    need(ai.prices.iter().all(priced), "ai.prices", "must be at most 1000000000000000 millionths");
}

/// Whether it can name a service: what runs on the node itself has the name that is left out.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name != LOCAL && name.bytes().all(plain)
}

fn is_http(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// What turns speech into text.
fn check_speech(speech: &Speech, need: &mut impl FnMut(bool, &str, &str)) {
    let mut names = BTreeSet::from([LOCAL]);
    need(speech.engines.len() <= SPEECH_ENGINES_MAX, "speech.engines", "must be at most 32");
    for engine in &speech.engines {
        need(is_name(&engine.name), "speech.engines.name", NAME_RULE);
        need(names.insert(&engine.name), "speech.engines.name", "must stand there once");
        need(is_http(&engine.url), "speech.engines.url", URL_RULE);
        need(!engine.model.trim().is_empty(), "speech.engines.model", "must not be empty: results name it");
        need(engine.key.is_empty() || engine.key.is_well_formed(), "speech.engines.key", secret::RULE);
    }
    need(names.contains(&*speech.default_engine), "speech.default_engine", "must be local or one of speech.engines");
}

/// What may be reached, and by which way.
fn check_egress(egress: &Egress, need: &mut impl FnMut(bool, &str, &str)) {
    for (key, items) in [("egress.allow", &egress.allow), ("egress.proxy_except", &egress.proxy_except)] {
        let mut networks = items.iter().filter(|item| item.contains('/'));
        let read = networks.all(|network| network.parse::<Network>().is_ok());
        need(read, key, "must hold networks such as 10.0.0.0/8, addresses, and host names");
    }
    let credentials = &egress.proxy_credentials;
    if egress.proxy.is_empty() {
        let unused = credentials.is_empty() && egress.proxy_except.is_empty();
        need(unused, "egress.proxy_credentials and egress.proxy_except", "must be empty while egress.proxy is");
        return;
    }
    if let Err(rule) = Proxy::new(&egress.proxy, None) {
        need(false, "egress.proxy", &rule.to_string());
    }
    need(credentials.is_empty() || credentials.is_well_formed(), "egress.proxy_credentials", secret::RULE);
}

/// Limits of what makes a node one of several.
fn check_cluster(config: &Config, need: &mut impl FnMut(bool, &str, &str)) {
    let cluster = &config.cluster;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let zone = &config.node.zone;
    let zoned = zone.len() <= LABEL_LEN_MAX && zone.bytes().all(plain);
    need(zoned, "node.zone", "must be at most 63 characters of a-z, 0-9 and '-'");
    need(matches!(cluster.replicas, 1 | 3 | 5), "cluster.replicas", "must be 1, 3 or 5");
    need((200..=10_000).contains(&cluster.election_ms), "cluster.election_ms", "must be 200 to 10000");
    if cluster.name.is_empty() {
        need(cluster.etcd.is_empty(), "cluster.etcd", "must be empty while cluster.name is");
        return;
    }
    // The name is a label of the names in the nodes' certificates.
    let name = &cluster.name;
    let label =
        name.len() <= LABEL_LEN_MAX && name.bytes().all(plain) && !name.starts_with('-') && !name.ends_with('-');
    need(label, "cluster.name", "must be at most 63 characters of a-z, 0-9 and '-', without '-' at an end");
    need(!cluster.etcd.is_empty(), "cluster.etcd", "must name at least one endpoint while cluster.name is set");
    check_etcd(cluster, need);
    if cluster.advertise.is_empty() {
        let reachable = !cluster.listen.ip().is_unspecified();
        need(reachable, "cluster.advertise", "must be set while cluster.listen names no address others can dial");
    } else {
        let whole = cluster.advertise.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        need(whole, "cluster.advertise", "must be host:port");
    }
    let files = [&cluster.ca_file, &cluster.cert_file, &cluster.key_file];
    let given = files.iter().filter(|file| !file.as_os_str().is_empty()).count();
    if cluster.plaintext {
        need(given == 0, "cluster.plaintext", "must be false while cluster.ca_file, cert_file or key_file is set");
    } else {
        let rule = "must all be set unless cluster.plaintext is true";
        need(given == files.len(), "cluster.ca_file, cluster.cert_file and cluster.key_file", rule);
    }
}

/// How etcd is reached, and how it is trusted.
fn check_etcd(cluster: &Cluster, need: &mut impl FnMut(bool, &str, &str)) {
    let all = |scheme: &str| cluster.etcd.iter().all(|endpoint| endpoint.starts_with(scheme));
    need(all("http://") || all("https://"), "cluster.etcd", "must hold http URLs, or https URLs only");
    let [authority, certificate, key] = [&cluster.etcd_ca_file, &cluster.etcd_cert_file, &cluster.etcd_key_file]
        .map(|file| !file.as_os_str().is_empty());
    if all("https://") {
        need(authority, "cluster.etcd_ca_file", "must be set while cluster.etcd holds https URLs");
        need(certificate == key, "cluster.etcd_cert_file and cluster.etcd_key_file", "must be set together");
    } else {
        let rule = "must be empty while cluster.etcd holds http URLs";
        need(!(authority || certificate || key), "cluster.etcd_ca_file, etcd_cert_file and etcd_key_file", rule);
    }
}
