//! A token in a real keyring: GNOME's, on a message bus of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{
    project::{Project, succeed},
    steps::Stop,
    system::{install, runs},
};

/// What the example program is told to do, one process after the other, and what it must say.
const SCRIPT: &str = r#"
printf password | gnome-keyring-daemon --unlock --components=secrets > /dev/null
for step in get "save k3yr1ng-1" get "save k3yr1ng-2" get clear get; do "$1" $step; done
"#;
const SAYS: &str = "none\nsaved\nfound k3yr1ng-1\nsaved\nfound k3yr1ng-2\ncleared\nnone\n";

pub(crate) fn check(project: &Project) -> Result<(), Stop> {
    if !cfg!(target_os = "linux") {
        return Err(Stop::Skipped(
            "the keyring of this system is not one that a program can unlock".to_owned(),
        ));
    }
    if !(runs("dbus-run-session") && runs("gnome-keyring-daemon")) {
        let advice = "install dbus-run-session and gnome-keyring-daemon";
        install(project, "a message bus and a keyring", &["dbus", "gnome-keyring"], advice)?;
    }
    // What `cargo test` compiles, so that nothing is compiled twice.
    let build = ["build", "--locked", "--workspace", "--all-features", "--example", "keyring"];
    succeed(project.cargo().args(build))?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| project.root.join("target"), PathBuf::from);
    let home = target.join(format!("keyring-{}", std::process::id()));
    let fail = |error| Stop::Failed(format!("{}: {error}", home.display()));
    fs::create_dir_all(&home).map_err(fail)?;
    let outcome = run(project, &target.join("debug/examples/keyring"), &home);
    fs::remove_dir_all(&home).map_err(fail)?;
    outcome
}

fn run(project: &Project, example: &Path, home: &Path) -> Result<(), Stop> {
    let mut session = project.command("dbus-run-session");
    for variable in ["HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
        session.env(variable, home);
    }
    let output = session.args(["--", "sh", "-eu", "-c", SCRIPT, "sh"]).arg(example).output();
    let output = output.map_err(|error| Stop::Failed(format!("cannot run dbus-run-session: {error}")))?;
    let says = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || says != SAYS {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Stop::Failed(format!("ended with {}, and said\n{says}{errors}", output.status)));
    }
    let mut files = 0;
    if shows_token(home, &mut files)? {
        return Err(Stop::Failed("a token is readable in a file of the keyring".to_owned()));
    }
    println!(
        "a token was kept, replaced, found by other processes and cleared; readable in none of {files} files"
    );
    Ok(())
}

/// Whether a file below `folder` has one of the tokens in it as it is.
fn shows_token(folder: &Path, files: &mut usize) -> Result<bool, Stop> {
    let fail = |error| Stop::Failed(format!("{}: {error}", folder.display()));
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(fail)?);
        if kind.is_dir() {
            if shows_token(&path, files)? {
                return Ok(true);
            }
        } else if kind.is_file() {
            *files += 1;
            let bytes = fs::read(&path).map_err(fail)?;
            if bytes.windows(7).any(|seven| seven == b"k3yr1ng") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
