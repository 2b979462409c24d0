//! Finds the key someone meant. Called for keys that do not exist.

/// The known name with the fewest edits to what was written.
pub(super) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> &'a str {
    known.min_by_key(|name| edits(written, name)).unwrap_or_default()
}

/// Levenshtein distance.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (from, to, want) in
            [("", "abc", 3), ("listen", "listen", 0), ("listn", "listen", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(edits(from, to), want, "{from} {to}");
        }
        assert_eq!(nearest("http.lisen", ["grpc.listen", "http.listen"].into_iter()), "http.listen");
    }
}
