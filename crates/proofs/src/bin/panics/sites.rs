//! Where a handler can panic: read from the source of the actors, so that none can be forgotten.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The names of all failpoints. An actor's file that has more handlers than failpoints is an error.
pub(crate) fn read() -> Result<Vec<&'static str>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../actors");
    let (mut sites, mut files) = (Vec::new(), Vec::new());
    find(&folder, &mut files).map_err(|error| format!("{}: {error}", folder.display()))?;
    for path in files {
        let source = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let source = code.collect::<Vec<_>>().join("\n");
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let found: Vec<_> = source.split('"').filter(|literal| is_site(literal, &name)).collect();
        let handlers =
            source.matches("impl Handler<").count() + source.matches("impl StreamHandler<").count();
        if name != "driver" && found.len() < handlers {
            return Err(format!("{name} has {handlers} handlers and {} failpoints", found.len()));
        }
        if name == "plain" {
            // No actor of this client, but a client of its own, whose handlers panic in its own tests.
            continue;
        }
        // The names live as long as the program, which is a few seconds.
        sites.extend(found.into_iter().map(|site| &*site.to_owned().leak()));
    }
    sites.sort_unstable();
    sites.dedup();
    Ok(sites)
}

/// The files of the folder, and of those in it.
fn find(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn is_site(literal: &str, actor: &str) -> bool {
    let handler = literal.strip_prefix(actor).and_then(|rest| rest.strip_prefix('.'));
    handler
        .is_some_and(|name| name.starts_with(char::is_uppercase) && name.chars().all(char::is_alphanumeric))
}
