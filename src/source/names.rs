//! Gives things in one file different names.

use std::collections::HashMap;

/// The names so far. For each, the number that the next thing of this name gets.
#[derive(Debug, Default)]
pub struct Names(HashMap<String, u64>);

impl Names {
    /// Returns the name `STEM` + `END`, or `STEM (2)` + `END` and so on if it is taken.
    pub fn unique(&mut self, stem: &str, end: &str) -> String {
        let name = format!("{stem}{end}");
        let mut unique = name.clone();
        while self.0.contains_key(&unique) {
            let number = self.0.entry(name.clone()).or_insert(1);
            *number += 1;
            unique = format!("{stem} ({number}){end}");
        }
        self.0.insert(unique.clone(), 1);
        unique
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_are_equal() {
        let mut names = Names::default();
        let all = [("a", ".txt"), ("a (2)", ".txt"), ("a", ".txt"), ("a", ".txt"), ("a", "")];
        let unique = all.map(|(stem, end)| names.unique(stem, end));
        assert_eq!(unique, ["a.txt", "a (2).txt", "a (3).txt", "a (4).txt", "a"]);
    }
}
