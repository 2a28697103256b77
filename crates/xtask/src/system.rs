//! Programs of this system, and how what is missing gets here.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    project::{Project, succeed},
    steps::Stop,
};

/// Whether this program is there.
pub(crate) fn runs(program: &str) -> bool {
    let quiet = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// Installs packages, which only root on Debian does.
///
/// # Errors
/// [`Stop::Skipped`] with `advice` anywhere else, [`Stop::Failed`] where installing fails.
pub(crate) fn install(project: &Project, what: &str, packages: &[&str], advice: &str) -> Result<(), Stop> {
    let debian = Path::new("/etc/debian_version").exists() && runs("apt-get");
    if !debian || !is_root() {
        let why = format!(
            "{what} are missing, and only root on Debian has them installed by this command; {advice}"
        );
        return Err(Stop::Skipped(why));
    }
    println!("installing {what}");
    let apt_get = || {
        let mut apt_get = project.command("apt-get");
        apt_get.env("DEBIAN_FRONTEND", "noninteractive");
        apt_get
    };
    succeed(apt_get().args(["update", "-qq"]))?;
    succeed(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
