//! Where the database lies: the file and its rights, or a storage that tests bring.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use actix_realtime_core::store::StoreError;
use redb::{Builder, Database, DatabaseError, StorageBackend, StorageError, backends::FileBackend};

use super::{CACHE, shared::Shared, tables::of_storage};

pub(super) enum Source {
    File(PathBuf),
    /// The application's own database.
    Shared(Shared),
    #[cfg(feature = "__faults")]
    Backend(Box<dyn Fn() -> crate::faults::Backend + Send>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Shared(shared) => shared.fmt(f),
            #[cfg(feature = "__faults")]
            Self::Backend(_) => f.write_str("a storage"),
        }
    }
}

impl Source {
    /// The database, and the length of its file in bytes where it is ours alone.
    pub(super) fn open(&mut self) -> Result<(Arc<Database>, Option<u64>), StoreError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE);
        let (database, bytes) = match self {
            Self::File(path) => {
                let file = open_private(path)?;
                let bytes = file.metadata().map_err(of_io)?.len();
                let backend = FileBackend::new(file).map_err(|error| of_open(error, path))?;
                restart_unfinished(&backend).map_err(of_io)?;
                (builder.create_with_backend(backend).map_err(|error| of_open(error, path))?, Some(bytes))
            }
            Self::Shared(shared) => return Ok((shared.open()?, None)),
            #[cfg(feature = "__faults")]
            Self::Backend(open) => {
                let backend = open();
                restart_unfinished(&backend).map_err(of_io)?;
                let opened = builder.create_with_backend(backend);
                (opened.map_err(|error| of_open(error, Path::new("a storage")))?, None)
            }
        };
        Ok((Arc::new(database), bytes))
    }

    /// The store is closed: another client may have it.
    pub(super) fn let_go(&mut self) {
        if let Self::Shared(shared) = self {
            shared.let_go();
        }
    }

    /// Moves a damaged file out of the way; None where there is no file to move.
    pub(super) fn set_aside(&self, reason: &str) -> Result<Option<PathBuf>, StoreError> {
        match self {
            Self::File(path) => {
                let moved = free_name(path)?;
                fs::rename(path, &moved).map_err(|error| StoreError::Corrupt {
                    reason: format!("{reason}; it could not be set aside: {error}"),
                })?;
                Ok(Some(moved))
            }
            Self::Shared(_) => Ok(None),
            #[cfg(feature = "__faults")]
            Self::Backend(_) => Ok(None),
        }
    }
}

fn free_name(path: &Path) -> Result<PathBuf, StoreError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names = (1..10_000).map(|n| path.with_file_name(format!("{name}.damaged-{n}")));
    names.into_iter().find(|name| !name.exists()).ok_or_else(|| StoreError::Corrupt {
        reason: "10,000 damaged files lie beside it already; look at them and move them away".to_owned(),
    })
}

/// Opens or creates the file, for its owner alone.
fn open_private(path: &Path) -> Result<fs::File, StoreError> {
    let bad = |reason: &str| StoreError::BadPath { path: path.to_owned(), reason: reason.to_owned() };
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    make_folder(folder).map_err(of_io)?;
    let is_new = match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => return Err(bad("it is a symbolic link; name the file itself")),
        Ok(found) if !found.is_file() => return Err(bad("it is not a file; name a file")),
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(of_io(error)),
    };
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(of_io)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(of_io)?;
    if is_new {
        // The file's name, too, must outlive a power cut.
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(of_io)?;
    }
    Ok(file)
}

/// A new file whose power went before redb had finished it looks like damage to redb, but holds nothing: it begins
/// anew. redb writes its magic number last, and nothing but the header before it.
fn restart_unfinished(backend: &impl StorageBackend) -> io::Result<()> {
    const MAGIC: usize = 9;
    const HEADER: usize = 512;
    const LONGEST: usize = 4 << 20;
    let len = usize::try_from(backend.len()?).unwrap_or(usize::MAX);
    let is_blank = |from: usize, to: usize| -> io::Result<bool> {
        let mut bytes = vec![0; to.min(len).saturating_sub(from)];
        backend.read(from as u64, &mut bytes)?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    };
    let is_unfinished = len <= LONGEST && is_blank(0, MAGIC)? && (len <= HEADER || is_blank(HEADER, len)?);
    if is_unfinished { backend.set_len(0) } else { Ok(()) }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

pub(super) fn of_io(error: io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::StorageFull { StoreError::Full(error) } else { StoreError::Io(error) }
}

fn of_open(error: DatabaseError, path: &Path) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path: path.to_owned() },
        // What is not a database at all says so by its kind.
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            StoreError::Corrupt { reason: error.to_string() }
        }
        DatabaseError::Storage(error) => of_storage(error),
        // Not damage: a file of another age of redb, or one that is handled in a way that is not ours.
        other @ (DatabaseError::UpgradeRequired(_)
        | DatabaseError::RepairAborted
        | DatabaseError::LockProtocolMismatch
        | DatabaseError::TransactionInProgress
        | _) => StoreError::BadPath { path: path.to_owned(), reason: other.to_string() },
    }
}
