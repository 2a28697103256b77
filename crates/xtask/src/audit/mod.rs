//! Licences, sources and duplicates of everything in Cargo.lock, and what is known against it.

mod advisories;

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde_json::Value;

use crate::{project::Project, steps::Stop};

/// Licences that a dependency may come under.
const LICENCES: [&str; 9] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// A package that may break a rule, and why.
struct Exception {
    what: &'static str,
    reason: &'static str,
}

const fn except(what: &'static str, reason: &'static str) -> Exception {
    Exception { what, reason }
}

/// Crates that the tree may have in two incompatible versions.
const DUPLICATES: &[Exception] = &[
    except("base64", "actix-http is on 0.22; 0.23 comes with rcgen, which makes certificates for tests"),
    except(
        "getrandom",
        "backoff and ring are on 0.2, uuid on 0.4; both are thin layers over one system call",
    ),
    except("hashbrown", "governor is on 0.16, indexmap on 0.17"),
    except("http", "actix-http is on 0.2; actix-tls takes host names of 1 as well"),
    except("rand", "backoff is on 0.8, actix-http on 0.10; our own randomness is fastrand"),
    except("rand_core", "comes with the two versions of rand"),
    except("syn", "derive macros move to 3 one by one; it is compiled in, not linked in"),
    except("synstructure", "derive macros move to 0.14 with syn; it is compiled in, not linked in"),
    except("windows-sys", "bindings that are built on Windows alone; each crate picks its version"),
];

/// One package of the dependency tree.
#[derive(Clone, Debug)]
struct Package {
    name: String,
    version: Version,
    licence: Option<String>,
    /// None: it is one of ours.
    source: Option<String>,
}

pub(crate) fn check(project: &Project) -> Result<(), Stop> {
    let mut metadata = project.cargo();
    metadata.args(["metadata", "--format-version", "1", "--locked", "--all-features"]);
    metadata.stderr(std::process::Stdio::inherit());
    let output = metadata.output().map_err(|error| Stop::Failed(format!("cannot run cargo: {error}")))?;
    if !output.status.success() {
        return Err(Stop::Failed(format!("cargo metadata ended with {}", output.status)));
    }
    let packages = packages(&String::from_utf8_lossy(&output.stdout)).map_err(Stop::Failed)?;
    let mut problems = licences(&packages);
    problems.extend(sources(&packages));
    problems.extend(duplicates(&packages));
    let advisories = advisories::check(project, &packages);
    if let Err(Stop::Failed(found)) = &advisories {
        problems.push(found.clone());
    }
    if !problems.is_empty() {
        return Err(Stop::Failed(problems.join("\n")));
    }
    println!("{} packages: licences, sources and duplicates are as they should be", packages.len());
    advisories
}

/// Reads what `cargo metadata` prints.
fn packages(json: &str) -> Result<Vec<Package>, String> {
    let metadata: Value = serde_json::from_str(json).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let text = |package: &Value, field: &str| package[field].as_str().map(str::to_owned);
    packages
        .iter()
        .map(|package| {
            let name = text(package, "name").ok_or("a package has no name")?;
            let version = text(package, "version").unwrap_or_default();
            let version = version.parse().map_err(|error| format!("{name} {version}: {error}"))?;
            let (licence, source) = (text(package, "license"), text(package, "source"));
            Ok(Package { name, version, licence, source })
        })
        .collect()
}

fn licences(packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .filter(|package| !package.licence.as_deref().is_some_and(is_allowed))
        .map(|Package { name, version, licence, .. }| match licence {
            Some(licence) => {
                format!("{name} {version} has the licence {licence:?}, which is not on the list")
            }
            None => format!("{name} {version} names no licence"),
        })
        .collect()
}

/// Whether an SPDX expression leaves a choice that is on the list.
///
/// It is read as if AND bound weaker than OR and there were no parentheses. That can refuse an expression that is
/// fine, and never allows one that is not: each part of the conjunction must be allowed by itself.
fn is_allowed(expression: &str) -> bool {
    expression.replace('/', " OR ").split(" AND ").all(|part| {
        part.split(" OR ")
            .map(|licence| licence.trim_matches(|c: char| c.is_whitespace() || c == '(' || c == ')'))
            .any(|licence| LICENCES.contains(&licence))
    })
}

/// Everything that is not ours comes from one registry, and nothing from a repository that can change.
fn sources(packages: &[Package]) -> Vec<String> {
    let foreign = || packages.iter().filter_map(|package| Some((package, package.source.as_deref()?)));
    let registry = foreign().map(|(_, source)| source).find(|source| source.starts_with("registry+"));
    foreign()
        .filter(|(_, source)| Some(*source) != registry)
        .map(|(package, source)| format!("{} {} comes from {source}", package.name, package.version))
        .collect()
}

/// Versions that cargo may replace by each other: the leftmost number that is not zero is the same.
fn compatibility(version: &Version) -> (u64, u64, u64) {
    match (version.major, version.minor) {
        (0, 0) => (0, 0, version.patch),
        (0, minor) => (0, minor, 0),
        (major, _) => (major, 0, 0),
    }
}

fn duplicates(packages: &[Package]) -> Vec<String> {
    let mut versions = BTreeMap::<&str, BTreeMap<(u64, u64, u64), &Version>>::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(compatibility(&package.version), &package.version);
    }
    let mut problems = Vec::new();
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let list = versions.values().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match DUPLICATES.iter().find(|allowed| allowed.what == *name) {
            Some(allowed) => println!("{name} {list}: allowed, {}", allowed.reason),
            None => problems.push(format!("{name} is there in incompatible versions: {list}")),
        }
    }
    problems
}

/// The names in the tree.
fn names(packages: &[Package]) -> BTreeSet<&str> {
    packages.iter().map(|package| &*package.name).collect()
}

#[cfg(test)]
fn package(name: &str, version: &str) -> Package {
    let version = version.parse().expect("a version");
    Package { name: name.to_owned(), version, licence: None, source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_needs_one_allowed_choice_in_each_of_its_parts() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 / MIT",
            "GPL-3.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR AGPL-3.0) AND MIT", "", "GPL-3.0 WITH MIT"] {
            assert!(!is_allowed(bad), "{bad}");
        }
        assert_eq!(licences(&[package("a", "1.0.0")]), ["a 1.0.0 names no licence"]);
    }

    #[test]
    fn what_is_not_from_the_one_registry_is_refused() {
        let from = |name, source: &str| Package { source: Some(source.to_owned()), ..package(name, "1.0.0") };
        let good = [package("ours", "1.0.0"), from("a", "registry+one"), from("b", "registry+one")];
        assert!(sources(&good).is_empty());
        let bad =
            [from("a", "registry+one"), from("b", "git+https://example.test"), from("c", "registry+two")];
        assert_eq!(sources(&bad).len(), 2);
        assert_eq!(sources(&[from("b", "git+https://example.test")]).len(), 1);
    }

    #[test]
    fn only_versions_that_cargo_cannot_merge_are_duplicates() {
        let mut tree = vec![package("a", "1.2.0"), package("a", "1.9.3"), package("b", "0.3.1")];
        assert!(duplicates(&tree).is_empty());
        tree.push(package("b", "0.4.0"));
        assert_eq!(duplicates(&tree), ["b is there in incompatible versions: 0.3.1, 0.4.0"]);
        assert_eq!(duplicates(&[package("c", "0.0.1"), package("c", "0.0.2")]).len(), 1);
        assert!(duplicates(&[package("syn", "2.0.0"), package("syn", "3.0.0")]).is_empty());
    }

    #[test]
    fn metadata_is_read_as_cargo_prints_it() {
        let json =
            r#"{"packages":[{"name":"a","version":"1.2.3-rc.1","license":"MIT","source":null,"other":[]}]}"#;
        let read = packages(json).expect("packages");
        assert_eq!((&*read[0].name, read[0].version.to_string().as_str()), ("a", "1.2.3-rc.1"));
        assert_eq!((read[0].licence.as_deref(), read[0].source.as_deref()), (Some("MIT"), None));
        assert!(packages("{}").is_err() && packages("[").is_err());
    }
}
