//! What became of a source, to its stored form and back.

use bytes::Bytes;
use steward_proto::record::v1 as wire;
use steward_proto::record::v1::source_changed::Change;

use super::decode::{DecodeError, field};
use crate::domain::account::{SourceChange, SourceResponse, SourceSettings};

/// A change as it is stored.
pub(super) fn encode(change: &SourceChange) -> Change {
    match change {
        SourceChange::Updated { tolerance_s, public_url, settings } => Change::Updated(wire::SourceUpdated {
            tolerance_s: *tolerance_s,
            public_url: public_url.clone(),
            rate_per_s: settings.rate_per_s,
            allow: settings.allow.clone(),
            response: settings.response.as_ref().map(|response| wire::SourceResponse {
                status: response.status.into(),
                content_type: response.content_type.clone(),
                body: response.body.clone(),
            }),
        }),
        SourceChange::SecretsChanged { sealed_secrets, awaits_secret } => {
            let sealed_secrets = sealed_secrets.iter().map(|secret| Bytes::copy_from_slice(secret)).collect();
            Change::SecretsChanged(wire::SourceSecretsChanged { sealed_secrets, awaits_secret: *awaits_secret })
        }
        SourceChange::Paused => Change::Paused(wire::SourcePaused {}),
        SourceChange::Resumed => Change::Resumed(wire::SourceResumed {}),
    }
}

/// A change from its stored form.
pub(super) fn decode(change: Change) -> Result<SourceChange, DecodeError> {
    Ok(match change {
        Change::Updated(e) => {
            let wire::SourceUpdated { tolerance_s, public_url, rate_per_s, allow, response } = e;
            let response = response.map(response_of).transpose()?;
            let settings = SourceSettings { rate_per_s, allow, response };
            SourceChange::Updated { tolerance_s, public_url, settings }
        }
        Change::SecretsChanged(e) => SourceChange::SecretsChanged {
            sealed_secrets: e.sealed_secrets.iter().map(|secret| secret.to_vec()).collect(),
            awaits_secret: e.awaits_secret,
        },
        Change::Paused(_) => SourceChange::Paused,
        Change::Resumed(_) => SourceChange::Resumed,
    })
}

fn response_of(stored: wire::SourceResponse) -> Result<SourceResponse, DecodeError> {
    let wire::SourceResponse { status, content_type, body } = stored;
    let status = u16::try_from(status).map_err(|_| field("status", &status.to_string()))?;
    Ok(SourceResponse { status, content_type, body })
}
