//! "Did you mean": the nearest of some known names.

use crate::limits::ENTRY_ID_PART_BYTES_MAX;

/// The known name that was most likely meant, if one is close enough.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let farthest = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= farthest)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `; did you mean x?`, or nothing.
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// Insertions, deletions and replacements of characters between two names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Longer names are not compared: nothing known is as long, and the effort is a product of lengths.
const NAME_BYTES_MAX: usize = 2 * ENTRY_ID_PART_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits() {
        for (a, b, edits) in
            [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("max", "max", 0)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (edits, edits), "{a} {b}");
        }
    }

    #[test]
    fn only_close_names_are_suggested() {
        let known = ["max_size", "cleanup_interval", "kind"];
        assert_eq!(nearest("maxsize", known), Some("max_size"));
        assert_eq!(nearest("cleanup-intervall", known), Some("cleanup_interval"));
        assert_eq!(nearest("flavour", known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }
}
