//! Every clause of the protocol has a test, and every test's clause exists.
//!
//! In `docs/protocol.md` a clause is a list item that begins with its bold id: `- **S-3** ...`. In a test it is a
//! comment line of ids in brackets, directly above the attributes of a test function.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{project::Project, steps::Stop};

const DOCUMENT: &str = "docs/protocol.md";
const FOLDERS: [&str; 4] = ["crates", "actors", "tests", "server-example"];

pub(crate) fn check(project: &Project) -> Result<(), Stop> {
    let defined = defined(&project.read(Path::new(DOCUMENT))?)?;
    let mut tests = BTreeMap::<String, usize>::new();
    let mut problems = Vec::new();
    for folder in FOLDERS {
        for path in project.files(folder, "rs")? {
            for (line, tag) in tags(&project.read(&path)?) {
                let place = format!("{}:{line}", path.display());
                match tag {
                    Tag::Stray => problems.push(format!("{place} names clauses, but stands above no test")),
                    Tag::Of(clauses) => {
                        for clause in clauses {
                            if !defined.contains(&clause) {
                                problems
                                    .push(format!("{place} names {clause}, which {DOCUMENT} does not have"));
                            }
                            *tests.entry(clause).or_default() += 1;
                        }
                    }
                }
            }
        }
    }
    problems.extend(
        defined
            .iter()
            .filter(|clause| !tests.contains_key(*clause))
            .map(|clause| format!("{clause} has no test")),
    );
    if !problems.is_empty() {
        return Err(Stop::Failed(problems.join("\n")));
    }
    println!("{} clauses, {} tests name them", defined.len(), tests.values().sum::<usize>());
    Ok(())
}

/// The clauses that the document defines.
fn defined(document: &str) -> Result<BTreeSet<String>, Stop> {
    let mut clauses = BTreeSet::new();
    let items = document.lines().filter_map(|line| line.strip_prefix("- **")?.split_once("**"));
    for (id, _) in items.filter(|(id, _)| is_clause(id)) {
        if !clauses.insert(id.to_owned()) {
            return Err(Stop::Failed(format!("{DOCUMENT} defines {id} twice")));
        }
    }
    if clauses.is_empty() {
        return Err(Stop::Failed(format!("{DOCUMENT} defines no clause")));
    }
    Ok(clauses)
}

/// A capital letter, a hyphen, a number: `S-3`.
fn is_clause(id: &str) -> bool {
    let (letter, number) = id.split_once('-').unwrap_or_default();
    letter.len() == 1
        && letter.bytes().all(|byte| byte.is_ascii_uppercase())
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// A comment line that names clauses.
#[derive(Debug, PartialEq, Eq)]
enum Tag {
    /// Of the test below it.
    Of(Vec<String>),
    /// There is no test below it.
    Stray,
}

/// The tags of one source file, with their line numbers.
fn tags(source: &str) -> Vec<(usize, Tag)> {
    let mut lines = source.lines().enumerate().peekable();
    let mut found = Vec::new();
    while let Some((at, line)) = lines.next() {
        let Some(mut clauses) = clauses_of(line) else { continue };
        let mut is_test = false;
        while let Some((_, line)) = lines.peek() {
            if let Some(more) = clauses_of(line) {
                clauses.extend(more);
            } else if line.trim_start().starts_with("#[") {
                is_test |= is_test_attribute(line);
            } else {
                break;
            }
            lines.next();
        }
        found.push((at + 1, if is_test { Tag::Of(clauses) } else { Tag::Stray }));
    }
    found
}

/// The clauses of a comment line that has nothing else in it.
fn clauses_of(line: &str) -> Option<Vec<String>> {
    let words = line.trim_start().strip_prefix("//")?.split_whitespace();
    let clauses: Option<Vec<String>> = words
        .map(|word| word.strip_prefix('[')?.strip_suffix(']').filter(|id| is_clause(id)).map(str::to_owned))
        .collect();
    clauses.filter(|clauses| !clauses.is_empty())
}

/// `#[test]`, `#[actix_rt::test]`, `#[tokio::test(start_paused = true)]`.
pub(crate) fn is_test_attribute(line: &str) -> bool {
    let name = line.trim().trim_start_matches("#[").split([']', '(']).next().unwrap_or_default();
    name.rsplit("::").next() == Some("test")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(clauses: &[&str]) -> Tag {
        Tag::Of(clauses.iter().map(|&clause| clause.to_owned()).collect())
    }

    #[test]
    fn a_clause_is_a_list_item_that_begins_with_its_bold_id() {
        let document =
            "# S-1\n- **S-1** first\n- **D-10** tenth\n- **note** none\n- D-8 reserved\n  - **S-9** no\n";
        let found = defined(document).expect("clauses");
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["D-10", "S-1"]);
        assert!(defined("- **S-1** a\n- **S-1** b\n").is_err());
        assert!(defined("nothing").is_err());
    }

    #[test]
    fn a_tag_belongs_to_the_test_below_it_whatever_its_attributes() {
        for attribute in ["#[test]", "#[actix_rt::test]", "#[tokio::test(start_paused = true)]"] {
            let source = format!("    // [S-3] [D-2]\n    {attribute}\n    fn a() {{}}\n");
            assert_eq!(tags(&source), [(1, of(&["S-3", "D-2"]))], "{attribute}");
        }
        let source = "\n// [S-3]\n// [D-2]\n#[cfg(unix)]\n#[test]\nfn a() {}\n";
        assert_eq!(tags(source), [(2, of(&["S-3", "D-2"]))]);
    }

    #[test]
    fn a_tag_that_would_count_for_nothing_is_noticed() {
        for source in [
            "// [S-3]\nfn a() {}\n",
            "// [S-3]\n\n#[test]\nfn a() {}\n",
            "// [S-3]\n#[cfg(test)]\nmod a {}\n",
            "// [S-3]",
        ] {
            assert_eq!(tags(source), [(1, Tag::Stray)], "{source:?}");
        }
    }

    #[test]
    fn prose_about_a_clause_is_no_tag() {
        for line in [
            "// S-3",
            "// [S-3] says so",
            "/// [S-3]",
            "// [s-3]",
            "// [S-]",
            "// [SS-3]",
            "//",
            "x // [S-3]",
        ] {
            assert_eq!(clauses_of(line), None, "{line}");
        }
    }
}
