//! Files that clients bring.

use super::{Decided, Decision, Rejection};
use crate::domain::account::event::Event;
use crate::domain::account::limits::LABEL_CHARS_MAX;
use crate::domain::account::upload::BlobUploaded;

/// The same bytes may come under another name, so they may come again.
pub(super) fn record(uploaded: BlobUploaded) -> Decision {
    check(&uploaded.content_type, &uploaded.name)?;
    let id = uploaded.hash.clone();
    Ok(Decided::one(Event::BlobUploaded(uploaded), &id))
}

/// Checked before a file begins to come, and again with its event.
pub(crate) fn check(content_type: &str, name: &str) -> Result<(), Rejection> {
    for (field, text) in [("content_type", content_type), ("name", name)] {
        if text.chars().count() > LABEL_CHARS_MAX || text.chars().any(char::is_control) {
            let rule = format!("must have at most {LABEL_CHARS_MAX} characters, none of them a control character");
            return Err(Rejection::Invalid { field, rule });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, created};
    use super::*;
    use crate::domain::account::command::Command;

    fn uploaded(name: &str) -> BlobUploaded {
        let (hash, content_type) = ("0".repeat(64), "video/mp4".to_owned());
        BlobUploaded { hash, bytes: 3, content_type, name: name.to_owned() }
    }

    #[test]
    fn a_file_is_recorded_each_time_it_comes() {
        let (command, event) = (Command::RecordUpload(uploaded("a")), Event::BlobUploaded(uploaded("a")));
        check(&[created()], command.clone(), &Ok(vec![event.clone()]));
        check(&[created(), event.clone()], command, &Ok(vec![event]));
    }

    #[test]
    fn names_are_short_and_visible() {
        for name in ["a\nb", &"a".repeat(LABEL_CHARS_MAX + 1)] {
            let rule = "must have at most 200 characters, none of them a control character".to_owned();
            let refused = Err(Rejection::Invalid { field: "name", rule });
            check(&[created()], Command::RecordUpload(uploaded(name)), &refused);
        }
        check(&[created()], Command::RecordUpload(uploaded("ü")), &Ok(vec![Event::BlobUploaded(uploaded("ü"))]));
    }
}
