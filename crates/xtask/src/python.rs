//! Python and the packages of `tests/interop`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    project::{Project, succeed},
    steps::Stop,
    system::{install, runs},
};

const WANTED: &str = "tests/interop/requirements.txt";
const FOLDER: &str = "target/interop-python";
/// What was installed last, beside the packages.
const INSTALLED: &str = "target/interop-python/requirements.txt";

/// Makes an environment with the packages ready, installing what is missing.
///
/// # Errors
/// [`Stop::Skipped`] where Python is missing and may not be installed here, or the packages cannot be had.
pub(crate) fn ready(project: &Project) -> Result<(), Stop> {
    let wanted = project.read(Path::new(WANTED))?;
    let installed = project.root.join(INSTALLED);
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if !(runs("python3") && has_venv()) {
        let advice = "install Python 3.9 or newer with its module venv";
        install(project, "python3 and its venv", &["python3", "python3-venv"], advice)?;
    }
    println!("installing the Python packages of {WANTED}");
    let skipped = |stop| match stop {
        Stop::Failed(why) | Stop::Skipped(why) => Stop::Skipped(format!("no Python packages: {why}")),
    };
    succeed(project.command("python3").args(["-m", "venv", "--clear", FOLDER])).map_err(skipped)?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", WANTED];
    succeed(project.command(&format!("{FOLDER}/bin/python")).args(pip)).map_err(skipped)?;
    fs::write(&installed, wanted).map_err(|error| Stop::Failed(format!("{INSTALLED}: {error}")))
}

/// Whether environments can be made: Debian has that in a package of its own.
fn has_venv() -> bool {
    let mut python = Command::new("python3");
    let quiet =
        python.args(["-c", "import venv, ensurepip"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}
