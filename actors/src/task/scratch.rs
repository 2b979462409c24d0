//! The files of jobs in hand: one folder a job, gone when the job has ended.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

/// Removes a job's folder. It may never have been made.
pub(super) fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "a job's scratch folder could not be removed"),
    }
}

/// Removes the folders of jobs that are not open: a crash may have come between a job's end and its removal.
pub(super) fn sweep(root: &Path, open: &HashSet<(String, String)>) -> io::Result<()> {
    for account in children(root)? {
        for job in children(&root.join(&account))? {
            if !open.contains(&(account.clone(), job.clone())) {
                remove(&root.join(&account).join(&job));
            }
        }
    }
    Ok(())
}

fn children(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_leaves_open_jobs_alone() {
        let root = tempfile::tempdir().unwrap();
        for job in ["acme/call-1", "acme/call-2", "beta/call-1"] {
            fs::create_dir_all(root.path().join(job).join("chunks")).unwrap();
        }
        let open = HashSet::from([("acme".to_owned(), "call-2".to_owned())]);
        sweep(root.path(), &open).unwrap();
        let left = ["acme/call-1", "acme/call-2", "beta/call-1"].map(|job| root.path().join(job).exists());
        assert_eq!(left, [false, true, false]);
        sweep(&root.path().join("absent"), &open).unwrap();
    }
}
