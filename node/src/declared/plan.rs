//! What is to be done next so that a source is as declared. Pure: states in, one step out.

use steward_actors::domain::account::limits::SECRETS_MAX;
use steward_actors::domain::account::{Source, SourceAsked};
use steward_actors::domain::webhook::same_secret;

use super::read::Declared;

/// One command's worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    Update(SourceAsked),
    /// The declared secret at this place becomes the source's last.
    AddSecret(usize),
    /// The source's secret at this place goes.
    RetireSecret(usize),
}

/// The next step; none when the source is as declared. `secrets` are the source's own, opened.
pub(super) fn next<S: AsRef<[u8]>>(declared: &Declared, kept: &Source, secrets: &[S]) -> Option<Step> {
    let asked = declared.stated.over(kept);
    let as_it_is = SourceAsked::Update {
        tolerance_s: kept.tolerance_s,
        public_url: kept.public_url.clone(),
        settings: kept.settings.clone(),
    };
    if asked != as_it_is {
        return Some(Step::Update(asked));
    }
    // Where the platform brings secrets, those it brought stay unless others are declared.
    if declared.secrets.is_empty() { None } else { next_secret(declared, secrets, kept.awaits_secret) }
}

/// Secrets stand in the declared order, for schemes to which the first one is special.
fn next_secret<S: AsRef<[u8]>>(declared: &Declared, secrets: &[S], awaits_secret: bool) -> Option<Step> {
    let wanted = &declared.secrets;
    let (mut in_place, mut unwanted) = (0, None);
    for (position, secret) in secrets.iter().enumerate() {
        if wanted.get(in_place).is_some_and(|wanted| same_secret(wanted.as_bytes(), secret.as_ref())) {
            in_place += 1;
        } else if unwanted.is_none() {
            unwanted = Some(position);
        }
    }
    let has_room = secrets.len() + usize::from(awaits_secret) < SECRETS_MAX;
    match unwanted {
        Some(position) if in_place == wanted.len() || !has_room => Some(Step::RetireSecret(position)),
        Some(_) => Some(Step::AddSecret(in_place)),
        None => (in_place < wanted.len()).then_some(Step::AddSecret(in_place)),
    }
}

#[cfg(test)]
mod tests {
    use steward_actors::domain::account::{SourceResponse, SourceSettings};
    use steward_cluster::clock::Timestamp;

    use super::*;
    use crate::config::Layers;
    use crate::declared::read;

    fn declared(fields: &str) -> Declared {
        let source = format!("webhooks.sources=[{{account=\"a\", source=\"s\", scheme=\"github-hub256\", {fields}}}]");
        let config = Layers::defaults().assignments(&[source]).load().unwrap();
        read(&config).unwrap_or_else(|errors| panic!("{errors}")).remove(0)
    }

    fn source() -> Source {
        Source {
            scheme: "github-hub256".to_owned(),
            token: "a.x".to_owned(),
            sealed_secrets: vec![],
            tolerance_s: 60,
            public_url: "https://a/".to_owned(),
            created_at: Timestamp(1),
            settings: SourceSettings { rate_per_s: 7, allow: vec!["10.0.0.0/8".to_owned()], response: None },
            is_paused: true,
            awaits_secret: false,
            next_refused: 0,
        }
    }

    /// Goes all the way, and says how.
    #[track_caller]
    fn steps(wanted: &[&str], have: &[&str]) -> (String, Vec<String>) {
        let secrets: Vec<String> = wanted.iter().map(|secret| format!("\"text:{secret}\"")).collect();
        let declared = declared(&format!("secrets=[{}]", secrets.join(",")));
        let mut have: Vec<String> = have.iter().map(|secret| (*secret).to_owned()).collect();
        let mut steps = String::new();
        while let Some(step) = next(&declared, &source(), &have) {
            match step {
                Step::AddSecret(at) => have.push(declared.secrets[at].to_string()),
                Step::RetireSecret(at) => drop(have.remove(at)),
                step @ (Step::Create | Step::Update(_)) => panic!("{step:?}"),
            }
            assert!((1..=SECRETS_MAX).contains(&have.len()), "{have:?}");
            steps.push(if let Step::AddSecret(_) = step { '+' } else { '-' });
            assert!(steps.len() <= 2 * SECRETS_MAX, "{steps} {have:?}");
        }
        (steps, have)
    }

    #[test]
    fn secrets_become_the_declared_ones_in_their_order() {
        for (wanted, have, way) in [
            (vec!["a"], vec!["a"], ""),
            (vec!["a", "b"], vec!["a", "b"], ""),
            (vec!["b"], vec!["a"], "+-"),
            (vec!["a", "b"], vec!["a"], "+"),
            (vec!["b"], vec!["a", "b"], "-"),
            (vec!["a", "b"], vec!["b", "a"], "+-"),
            (vec!["a"], vec!["a", "a"], "-"),
            (vec!["a", "b", "c", "d"], vec!["e", "f", "g", "h"], "-+-+-+-+"),
            (vec!["a", "b", "c", "d"], vec!["d", "c", "b", "a"], "-+-+-+"),
        ] {
            let (steps, left) = steps(&wanted, &have);
            assert_eq!(left, wanted, "from {have:?}");
            assert_eq!(steps, way, "{have:?} to {wanted:?}");
        }
    }

    #[test]
    fn what_is_stated_is_updated_and_the_rest_stays() {
        let next = |fields: &str| next(&declared(&format!("secrets=[\"text:a\"], {fields}")), &source(), &["a"]);
        for same in ["", "tolerance_s=60", "rate_per_s=7, allow=[\"10.0.0.0/8\"], public_url=\"https://a/\""] {
            assert_eq!(next(same), None, "{same}");
        }
        let kept = source();
        let updated = |settings: SourceSettings| {
            let (tolerance_s, public_url) = (kept.tolerance_s, kept.public_url.clone());
            Some(Step::Update(SourceAsked::Update { tolerance_s, public_url, settings }))
        };
        assert_eq!(next("allow=[]"), updated(SourceSettings { allow: vec![], ..kept.settings.clone() }));
        let response = Some(SourceResponse { status: 202, content_type: String::new(), body: "ok".to_owned() });
        let want = updated(SourceSettings { response, ..kept.settings.clone() });
        assert_eq!(next("response={status=202, body=\"ok\"}"), want);
        let settings = kept.settings.clone();
        let want = SourceAsked::Update { tolerance_s: 5, public_url: String::new(), settings };
        assert_eq!(next("tolerance_s=5, public_url=\"\""), Some(Step::Update(want)));
    }

    #[test]
    fn secrets_that_a_platform_brought_stay() {
        let none = "webhooks.sources=[{account=\"a\", source=\"s\", scheme=\"asana-hook\"}]".to_owned();
        let config = Layers::defaults().assignments(&[none]).load().unwrap();
        let declared = read(&config).unwrap_or_else(|errors| panic!("{errors}")).remove(0);
        assert_eq!(next(&declared, &source(), &["brought"]), None);
    }
}
