//! Node.js and the npm packages of `tests/interop`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    project::{Project, succeed},
    steps::Stop,
};

const FOLDER: &str = "tests/interop";

/// Makes node and the packages ready, installing what is missing.
///
/// # Errors
/// [`Stop::Skipped`] where node is missing and may not be installed here, [`Stop::Failed`] where installing fails.
pub(crate) fn ready(project: &Project) -> Result<(), Stop> {
    if !(runs("node") && runs("npm")) {
        install_node(project)?;
    }
    if packages_are_current(&project.root.join(FOLDER)) {
        return Ok(());
    }
    println!("installing the npm packages of {FOLDER}");
    succeed(project.command("npm").args(["--prefix", FOLDER, "ci", "--no-audit", "--no-fund"]))
}

fn runs(program: &str) -> bool {
    let quiet = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn install_node(project: &Project) -> Result<(), Stop> {
    let debian = Path::new("/etc/debian_version").exists() && runs("apt-get");
    if !debian || !is_root() {
        let why = "node and npm are missing, and only root on Debian has them installed by this command; \
                   install Node.js 18 or newer";
        return Err(Stop::Skipped(why.to_owned()));
    }
    println!("installing node and npm");
    let mut apt_get = project.command("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive");
    succeed(apt_get.args(["update", "-qq"]))?;
    let mut apt_get = project.command("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive");
    succeed(apt_get.args(["install", "-y", "-qq", "--no-install-recommends", "nodejs", "npm"]))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether what npm installed last is not older than the lock file.
fn packages_are_current(folder: &Path) -> bool {
    let changed = |file: &str| fs::metadata(folder.join(file)).and_then(|file| file.modified()).ok();
    matches!(
        (changed("node_modules/.package-lock.json"), changed("package-lock.json")),
        (Some(installed), Some(lock)) if installed >= lock
    )
}
