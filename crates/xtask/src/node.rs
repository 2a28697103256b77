//! Node.js and the npm packages of `tests/interop`.

use std::{fs, path::Path};

use crate::{
    project::{Project, succeed},
    steps::Stop,
    system::{install, runs},
};

const FOLDER: &str = "tests/interop";

/// Makes node and the packages ready, installing what is missing.
///
/// # Errors
/// [`Stop::Skipped`] where node is missing and may not be installed here, [`Stop::Failed`] where installing fails.
pub(crate) fn ready(project: &Project) -> Result<(), Stop> {
    if !(runs("node") && runs("npm")) {
        let advice = "install Node.js 18 or newer";
        install(project, "node and npm", &["nodejs", "npm"], advice)?;
    }
    if packages_are_current(&project.root.join(FOLDER)) {
        return Ok(());
    }
    println!("installing the npm packages of {FOLDER}");
    succeed(project.command("npm").args(["--prefix", FOLDER, "ci", "--no-audit", "--no-fund"]))
}

/// Whether what npm installed last is not older than the lock file.
fn packages_are_current(folder: &Path) -> bool {
    let changed = |file: &str| fs::metadata(folder.join(file)).and_then(|file| file.modified()).ok();
    matches!(
        (changed("node_modules/.package-lock.json"), changed("package-lock.json")),
        (Some(installed), Some(lock)) if installed >= lock
    )
}
