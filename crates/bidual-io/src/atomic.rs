//! Files that appear complete or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// Distinguishes the temporary files of one process.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Checks that `path` can become a file, i.e. that its directory exists and it
/// is not a directory itself; for use before long work.
///
/// # Errors
/// [`Error::Directory`], [`Error::IsDirectory`].
pub fn check_output(path: &Path) -> Result<(), Error> {
    let file = path.display().to_string();
    if path.is_dir() || path.file_name().is_none() {
        return Err(Error::IsDirectory { file });
    }
    let directory = directory_of(path);
    if directory.is_dir() {
        Ok(())
    } else {
        Err(Error::Directory { file, directory: directory.display().to_string() })
    }
}

/// Writes a file by `write` such that `path` holds either its former content
/// or all of the new one: a temporary file beside it is written, flushed to
/// the disk and renamed. On any failure the temporary file is removed. A
/// symbolic link is followed; a device or pipe is written directly.
///
/// # Errors
/// A missing directory, and every failure to write, also those `write` returns.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    check_output(path)?;
    let failed = |cause| Error::Write { file: path.display().to_string(), cause };
    match fs::metadata(path) {
        // A rename would replace /dev/stdout and its like by a file.
        Ok(found) if !found.is_file() => {
            let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
            write_buffered(&file, write).map_err(failed)
        }
        Ok(found) => {
            let target = fs::canonicalize(path).map_err(failed)?;
            replace(&target, Some(found.permissions()), write).map_err(failed)
        }
        Err(_) => replace(path, None, write).map_err(failed),
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn write_buffered(
    file: &File,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.flush()
}

/// Removes the temporary file unless it has been renamed.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // Already failing: the first error is the one to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn replace(
    target: &Path,
    permissions: Option<fs::Permissions>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let (file, mut temporary) = create_beside(target)?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
    write_buffered(&file, write)?;
    file.sync_all()?;
    drop(file); // some systems do not rename open files
    fs::rename(&temporary.path, target)?;
    temporary.renamed = true;
    // The rename itself reaches the disk with the directory; some file systems
    // cannot sync directories, and the content is safe either way.
    #[cfg(unix)]
    if let Ok(directory) = File::open(directory_of(target)) {
        let _ = directory.sync_all();
    }
    Ok(())
}

fn create_beside(target: &Path) -> io::Result<(File, Temporary)> {
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // Not derived from the target's name, which may be as long as allowed.
        let name = format!(".bidual-{}-{number}.tmp", std::process::id());
        let path = directory_of(target).join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => {
                let renamed = false;
                return Ok((file, Temporary { path, renamed }));
            }
            // Left by a process of the same number that was killed.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let name = |e: io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
        entries.map(name).collect()
    }

    #[test]
    fn replaces_whole_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        for text in ["first", "second"] {
            write_atomically(&path, |out| out.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(directory.path()), ["a.txt"]);
    }

    #[test]
    fn a_failure_leaves_the_former_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        fs::write(&path, "kept").unwrap();
        let error = write_atomically(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("disk on fire"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("disk on fire"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
        assert_eq!(names(directory.path()), ["a.txt"]);
    }

    #[test]
    fn a_panic_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.txt");
        let run =
            std::panic::AssertUnwindSafe(|| write_atomically(&path, |_| panic!("on purpose")));
        assert!(std::panic::catch_unwind(run).is_err());
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn missing_directories_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("no/a.txt");
        let message = write_atomically(&path, |_| Ok(())).unwrap_err().to_string();
        assert!(message.contains("does not exist; create it"), "{message}");
        let message = check_output(directory.path()).unwrap_err().to_string();
        assert!(message.contains("is a directory"), "{message}");
        check_output(Path::new("plain-name.txt")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real"), directory.path().join("link"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_atomically(&link, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        write_atomically(Path::new("/dev/null"), |out| out.write_all(b"x")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
