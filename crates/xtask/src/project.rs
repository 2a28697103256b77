//! Where the project is, and how its tools are spawned.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::steps::Stop;

/// The checkout that the commands work on.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// Its top folder.
    pub(crate) root: PathBuf,
    /// `CI=true`: what cannot be checked is a failure.
    pub(crate) strict: bool,
}

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 2] = ["target", "node_modules"];

impl Project {
    /// Finds the workspace that this program was built from, or that the current folder is in.
    pub(crate) fn find() -> Result<Self, String> {
        let start = match env::var_os("CARGO_MANIFEST_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => env::current_dir().map_err(|error| format!("no current folder: {error}"))?,
        };
        let root = start
            .ancestors()
            .find(|folder| folder.join("Cargo.lock").is_file())
            .ok_or_else(|| format!("no Cargo.lock in or above {}", start.display()))?;
        let strict = env::var("CI").is_ok_and(|value| value == "true");
        Ok(Self { root: root.to_owned(), strict })
    }

    /// Every file of this extension below `folder`, with its path from the root; sorted, foreign and hidden folders
    /// left out. A folder that does not exist has none.
    pub(crate) fn files(&self, folder: &str, extension: &str) -> Result<Vec<PathBuf>, Stop> {
        let mut files = Vec::new();
        let top = self.root.join(folder);
        if top.is_dir() {
            walk(&top, extension, &mut files)?;
        }
        for file in &mut files {
            if let Ok(relative) = file.strip_prefix(&self.root) {
                *file = relative.to_owned();
            }
        }
        files.sort();
        Ok(files)
    }

    /// Reads a file of the project.
    pub(crate) fn read(&self, path: &Path) -> Result<String, Stop> {
        fs::read_to_string(self.root.join(path))
            .map_err(|error| Stop::Failed(format!("{}: {error}", path.display())))
    }

    /// A command that runs in the top folder.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// The cargo that runs us.
    pub(crate) fn cargo(&self) -> Command {
        self.command(&env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
    }
}

fn walk(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) -> Result<(), Stop> {
    let fail = |error| Stop::Failed(format!("{}: {error}", folder.display()));
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().map_err(fail)?.is_dir() {
            if !name.starts_with('.') && !FOREIGN.contains(&&*name) {
                walk(&path, extension, files)?;
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(())
}

/// Runs a command to its end.
///
/// # Errors
/// [`Stop::Failed`] where it cannot be started, or ends with anything but success.
pub(crate) fn succeed(command: &mut Command) -> Result<(), Stop> {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| Stop::Failed(format!("cannot run {name}: {error}")))?;
    if status.success() { Ok(()) } else { Err(Stop::Failed(format!("{name} ended with {status}"))) }
}
