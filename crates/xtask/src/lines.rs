//! No source file is longer than one sitting can read.

use crate::{project::Project, steps::Stop};

/// Most lines of one source file.
const MOST: usize = 600;

pub(crate) fn check(project: &Project) -> Result<(), Stop> {
    let mut long = Vec::new();
    let files = project.files(".", "rs")?;
    for path in &files {
        let lines = project.read(path)?.lines().count();
        if lines > MOST {
            long.push(format!("{} has {lines} lines, at most {MOST} are allowed", path.display()));
        }
    }
    if !long.is_empty() {
        return Err(Stop::Failed(long.join("\n")));
    }
    println!("{} source files, none over {MOST} lines", files.len());
    Ok(())
}
