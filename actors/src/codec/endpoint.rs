//! What became of an endpoint, to its stored form and back.

use bytes::Bytes;
use steward_cluster::clock::Timestamp;
use steward_proto::record::v1 as wire;
use steward_proto::record::v1::endpoint_changed::Change;

use super::decode::{DecodeError, field};
use crate::domain::account::{EndpointChange, EndpointSettings, OldSecret};
use crate::domain::pattern::Pattern;

/// A change as it is stored.
pub(super) fn encode(change: &EndpointChange) -> Change {
    match change {
        EndpointChange::Updated { url, patterns, settings } => Change::Updated(wire::EndpointUpdated {
            url: url.clone(),
            patterns: patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            filter: settings.filter.clone(),
            ordering_key: settings.ordering_key.clone(),
            rate_per_s: settings.rate_per_s,
            sealed_extras: Bytes::copy_from_slice(&settings.sealed_extras),
        }),
        EndpointChange::SecretRotated { sealed_secret, old } => {
            let (old_sealed, old_until) = old.as_ref().map_or((&[][..], 0), |old| (old.sealed.as_slice(), old.until.0));
            Change::SecretRotated(wire::EndpointSecretRotated {
                sealed_secret: Bytes::copy_from_slice(sealed_secret),
                old_sealed_secret: Bytes::copy_from_slice(old_sealed),
                old_until_ms: old_until,
            })
        }
        EndpointChange::Paused => Change::Paused(wire::EndpointPaused {}),
        EndpointChange::Resumed => Change::Resumed(wire::EndpointResumed {}),
        EndpointChange::Failing { percent, since, disabled_at } => Change::Failing(wire::EndpointFailing {
            percent: *percent,
            since_ms: since.0,
            disabled_at_ms: disabled_at.0,
        }),
        EndpointChange::CircuitOpened { until, trials } => {
            Change::CircuitOpened(wire::EndpointCircuitOpened { until_ms: until.0, trials: *trials })
        }
        EndpointChange::CircuitClosed => Change::CircuitClosed(wire::EndpointCircuitClosed {}),
        EndpointChange::Recovering { after_seq, through_seq } => {
            Change::Recovering(wire::EndpointRecovering { after_seq: *after_seq, through_seq: *through_seq })
        }
        EndpointChange::Requeued { seqs } => Change::Requeued(wire::EndpointRequeued { seqs: seqs.clone() }),
    }
}

/// A change from its stored form.
pub(super) fn decode(change: Change) -> Result<EndpointChange, DecodeError> {
    Ok(match change {
        Change::Updated(e) => {
            let pattern = |text: &String| Pattern::parse(text).map_err(|_| field("patterns", text));
            let patterns = e.patterns.iter().map(pattern).collect::<Result<_, _>>()?;
            let wire::EndpointUpdated { url, filter, ordering_key, rate_per_s, sealed_extras, .. } = e;
            let sealed_extras = sealed_extras.to_vec();
            let settings = EndpointSettings { filter, ordering_key, rate_per_s, sealed_extras };
            EndpointChange::Updated { url, patterns, settings }
        }
        Change::SecretRotated(e) => {
            let old = OldSecret { sealed: e.old_sealed_secret.to_vec(), until: Timestamp(e.old_until_ms) };
            let old = Some(old).filter(|old| !old.sealed.is_empty());
            EndpointChange::SecretRotated { sealed_secret: e.sealed_secret.to_vec(), old }
        }
        Change::Paused(_) => EndpointChange::Paused,
        Change::Resumed(_) => EndpointChange::Resumed,
        Change::Failing(e) => EndpointChange::Failing {
            percent: e.percent,
            since: Timestamp(e.since_ms),
            disabled_at: Timestamp(e.disabled_at_ms),
        },
        Change::CircuitOpened(e) => EndpointChange::CircuitOpened { until: Timestamp(e.until_ms), trials: e.trials },
        Change::CircuitClosed(_) => EndpointChange::CircuitClosed,
        Change::Recovering(e) => EndpointChange::Recovering { after_seq: e.after_seq, through_seq: e.through_seq },
        Change::Requeued(e) => EndpointChange::Requeued { seqs: e.seqs },
    })
}
