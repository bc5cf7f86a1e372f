//! Sizes and numbers of things as words, for people.

/// A size in decimal units, as file managers print it: `999 B`, `1.2 kB`, `34 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let (mut unit, mut scale) = ("kB", 1000_u64);
    for bigger in UNITS.into_iter().skip(1) {
        if count / scale < 1000 {
            break;
        }
        (unit, scale) = (bigger, scale.saturating_mul(1000));
    }
    let whole = count / scale;
    if whole >= 10 { format!("{whole} {unit}") } else { format!("{whole}.{} {unit}", count % scale / (scale / 10)) }
}

/// `1 file`, `2 files`.
pub fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_use_the_unit_a_reader_expects() {
        let shown = [0, 999, 1000, 1250, 9_999, 34_500_000, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "1.2 kB", "9.9 kB", "34 MB", "18 EB"]);
    }

    #[test]
    fn one_of_a_kind_has_no_plural() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "file")), ["0 files", "1 file", "2 files"]);
    }
}
