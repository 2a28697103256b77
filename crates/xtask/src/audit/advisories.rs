//! Known vulnerabilities and abandoned packages, from a snapshot of the RustSec advisory database.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use semver::{Version, VersionReq};

use super::{Exception, Package, except, names};
use crate::{
    project::{Project, succeed},
    steps::Stop,
};

/// Advisories that we live with.
const ACCEPTED: &[Exception] = &[
    except(
        "RUSTSEC-2025-0012",
        "backoff is unmaintained: one type of ours uses it for its exponential curve alone",
    ),
    except(
        "RUSTSEC-2024-0384",
        "instant is unmaintained: it comes with backoff, which takes the time from us",
    ),
    except(
        "RUSTSEC-2026-0258",
        "awc brings h2 0.3, mended in 0.4 alone; HTTP/2 is never offered, so it never runs",
    ),
];

/// One advisory: everything of its file that decides whether it covers a version.
#[derive(Debug, Default)]
struct Advisory {
    id: String,
    package: String,
    withdrawn: bool,
    /// Versions that it does not cover: patched or never affected.
    safe: Vec<VersionReq>,
}

/// Checks the tree against the tarball that `ADVISORY_DB` names.
///
/// # Errors
/// [`Stop::Skipped`] where it names none, [`Stop::Failed`] with what was found otherwise.
pub(super) fn check(project: &Project, packages: &[Package]) -> Result<(), Stop> {
    let Some(tarball) = env::var_os("ADVISORY_DB").filter(|path| !path.is_empty()).map(PathBuf::from) else {
        let why =
            "advisories were not checked: ADVISORY_DB names no .tar.gz of the RustSec advisory database";
        return Err(Stop::Skipped(why.to_owned()));
    };
    let folder = project.root.join("target/xtask-advisories");
    let advisories = unpack(project, &tarball, &folder).and_then(|()| read(&folder, packages));
    // What cannot be removed is overwritten next time.
    let _ = fs::remove_dir_all(&folder);
    let problems = judge(packages, &advisories?);
    if problems.is_empty() { Ok(()) } else { Err(Stop::Failed(problems.join("\n"))) }
}

fn unpack(project: &Project, tarball: &Path, folder: &Path) -> Result<(), Stop> {
    fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    succeed(project.command("tar").arg("-xzf").arg(tarball).arg("-C").arg(folder))
}

fn failed(path: &Path, error: &io::Error) -> Stop {
    Stop::Failed(format!("{}: {error}", path.display()))
}

/// Reads the advisories about packages of the tree. `crates` is at the top, or below the one folder of an archive.
fn read(folder: &Path, packages: &[Package]) -> Result<Vec<Advisory>, Stop> {
    let list = |path: &Path| -> Result<Vec<PathBuf>, Stop> {
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        Ok(entries.map_err(|error| failed(path, &error))?.iter().map(fs::DirEntry::path).collect())
    };
    let mut places = vec![folder.to_owned()];
    places.extend(list(folder)?);
    let crates = places
        .iter()
        .map(|place| place.join("crates"))
        .find(|crates| crates.is_dir())
        .ok_or_else(|| Stop::Failed("ADVISORY_DB holds no folder `crates`".to_owned()))?;
    let mut advisories = Vec::new();
    for name in names(packages) {
        let about = crates.join(name);
        if !about.is_dir() {
            continue;
        }
        for path in list(&about)? {
            let text = fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
            let advisory = parse(&text).map_err(|why| Stop::Failed(format!("{}: {why}", path.display())))?;
            advisories.push(advisory);
        }
    }
    Ok(advisories)
}

/// Reads the TOML at the head of an advisory: of the format just what these four keys use.
fn parse(text: &str) -> Result<Advisory, String> {
    let head =
        text.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).ok_or("no front matter")?;
    let mut advisory = Advisory::default();
    let mut section = "";
    let mut lines = head.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        match (section, key.trim()) {
            ("advisory", "id") => advisory.id = strings(value).concat(),
            ("advisory", "package") => advisory.package = strings(value).concat(),
            ("advisory", "withdrawn") => advisory.withdrawn = true,
            ("versions", "patched" | "unaffected") => {
                let mut list = strings(value);
                let mut last = value;
                while !without_comment(last).contains(']') {
                    last = lines.next().ok_or("a list without end")?;
                    list.extend(strings(last));
                }
                for rule in list {
                    let rule = VersionReq::parse(rule).map_err(|error| format!("{rule:?}: {error}"))?;
                    advisory.safe.push(rule);
                }
            }
            _ => {}
        }
    }
    if advisory.id.is_empty() || advisory.package.is_empty() {
        return Err("the front matter lacks `id` or `package`".to_owned());
    }
    Ok(advisory)
}

/// A line up to its comment; none of the strings that we read has a `#` in it.
fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default()
}

/// The double-quoted strings of a line.
fn strings(line: &str) -> Vec<&str> {
    without_comment(line).split('"').skip(1).step_by(2).collect()
}

impl Advisory {
    fn covers(&self, package: &Package) -> bool {
        let safe = |version: &Version| self.safe.iter().any(|rule| rule.matches(version));
        !self.withdrawn && self.package == package.name && !safe(&package.version)
    }
}

/// What is not accepted, and what is accepted for nothing: an exception that outlives its cause hides the next one.
fn judge(packages: &[Package], advisories: &[Advisory]) -> Vec<String> {
    let mut problems = Vec::new();
    for advisory in advisories {
        let accepted = ACCEPTED.iter().find(|accepted| accepted.what == advisory.id);
        let covered: Vec<_> = packages.iter().filter(|package| advisory.covers(package)).collect();
        for Package { name, version, .. } in &covered {
            match accepted {
                Some(accepted) => println!("{name} {version} {}: accepted, {}", advisory.id, accepted.reason),
                None => problems.push(format!("{name} {version} is covered by {}", advisory.id)),
            }
        }
        if accepted.is_some() && covered.is_empty() {
            problems.push(format!("{} is accepted, but covers no version in the tree", advisory.id));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::{super::package, *};

    const TEXT: &str = "```toml\n[advisory]\nid = \"RUSTSEC-2000-0001\"\npackage = \"a\"\nkeywords = [\"x\"]\n\n\
                        [affected.functions]\n\"a::b\" = [\"< 9\"]\n\n[versions]\n\
                        patched = [\n  \">= 1.2.3, < 2\", # fixed\n  \"^2.1\",\n]\nunaffected = [\"< 0.5\"]\n```\n\nwords";

    #[test]
    fn an_advisory_covers_what_is_neither_patched_nor_unaffected() {
        let advisory = parse(TEXT).expect("an advisory");
        assert_eq!((&*advisory.id, &*advisory.package), ("RUSTSEC-2000-0001", "a"));
        for (version, covered) in [
            ("0.4.9", false),
            ("0.5.0", true),
            ("1.2.2", true),
            ("1.2.3", false),
            ("2.0.9", true),
            ("2.1.0", false),
        ] {
            assert_eq!(advisory.covers(&package("a", version)), covered, "{version}");
        }
        assert!(!advisory.covers(&package("b", "1.0.0")));
        let withdrawn = TEXT.replace("keywords", "withdrawn = \"2001-01-01\"\nkeywords");
        assert!(!parse(&withdrawn).expect("an advisory").covers(&package("a", "1.0.0")));
    }

    #[test]
    fn an_advisory_without_a_patch_covers_every_version() {
        let text = "```toml\n[advisory]\nid = \"R\"\npackage = \"a\"\n[versions]\npatched = [] # none\n```";
        assert!(parse(text).expect("an advisory").covers(&package("a", "99.0.0")));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_no_clean_bill() {
        assert!(parse("no front matter").is_err());
        assert!(parse("```toml\n[advisory]\nid = \"R\"\n```").is_err());
        assert!(parse(&TEXT.replace("^2.1", "two")).is_err());
        assert!(parse("```toml\n[advisory]\nid=\"R\"\npackage=\"a\"\n[versions]\npatched = [\n```").is_err());
    }

    #[test]
    fn a_finding_is_a_problem_unless_accepted_and_an_accepted_one_must_still_cover_something() {
        let advisory =
            |id: &str| Advisory { id: id.to_owned(), package: "a".to_owned(), ..Advisory::default() };
        let tree = [package("a", "1.0.0")];
        assert_eq!(
            judge(&tree, &[advisory("RUSTSEC-2000-0001")]),
            ["a 1.0.0 is covered by RUSTSEC-2000-0001"]
        );
        let accepted = ACCEPTED[0].what;
        assert!(judge(&tree, &[advisory(accepted)]).is_empty());
        let patched = Advisory { safe: vec![VersionReq::STAR], ..advisory(accepted) };
        assert_eq!(judge(&tree, &[patched]).len(), 1);
    }
}
