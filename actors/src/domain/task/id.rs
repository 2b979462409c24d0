//! Which task of a job: its kind, and which part of the work of that kind.

use std::fmt;

use super::TaskKind;

/// Names a task within its job: `fetch`, or `encode-3` for one that is a part of a larger work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TaskId {
    pub kind: TaskKind,
    /// From 1 up; 0: the whole work of this kind.
    pub part: u16,
}

impl TaskId {
    /// The task with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let Some((kind, part)) = name.split_once('-') else { return TaskKind::parse(name).map(TaskKind::whole) };
        // One name for each: no sign, no zero in front.
        let part = part.parse().ok().filter(|number: &u16| *number > 0 && number.to_string() == part)?;
        TaskKind::parse(kind).map(|kind| kind.part(part))
    }
}

impl TaskKind {
    /// The task that is all of the work of this kind.
    #[must_use]
    pub const fn whole(self) -> TaskId {
        TaskId { kind: self, part: 0 }
    }

    /// The task that is one part of the work of this kind.
    #[must_use]
    pub const fn part(self, part: u16) -> TaskId {
        TaskId { kind: self, part }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if self.part == 0 { Ok(()) } else { write!(f, "-{}", self.part) }
    }
}

impl From<TaskId> for String {
    fn from(task: TaskId) -> Self {
        task.to_string()
    }
}

impl TryFrom<String> for TaskId {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::parse(&name).ok_or(name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_name_means_one_task_and_a_task_has_one_name() {
        for task in [TaskKind::Fetch.whole(), TaskKind::Encode.part(1), TaskKind::Encode.part(u16::MAX)] {
            assert_eq!(TaskId::parse(&task.to_string()), Some(task));
        }
        assert_eq!(TaskKind::Encode.part(12).to_string(), "encode-12");
        for bad in ["", "encode-", "encode-0", "encode-01", "encode-+1", "encode-65536", "encode-1-2", "other", "-1"] {
            assert_eq!(TaskId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn rows_name_whole_tasks_as_they_did_before_there_were_parts() {
        let before = serde_json::to_string(&BTreeMap::from([(TaskKind::Fetch, 1)])).unwrap();
        assert_eq!(serde_json::to_string(&BTreeMap::from([(TaskKind::Fetch.whole(), 1)])).unwrap(), before);
        let read: BTreeMap<TaskId, u8> =
            serde_json::from_str(r#"{"fetch": 1, "encode-10": 3, "encode-9": 2}"#).unwrap();
        assert_eq!(read.into_values().collect::<Vec<_>>(), [1, 2, 3], "parts in their order");
    }
}
