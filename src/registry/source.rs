//! The texts of a configuration: one file, or the `_index.yaml` files of a folder and those below.
//!
//! Folders are read in the order of their names. Hidden folders (`.plimsoll`, `.git`) are left out,
//! and folders behind symbolic links are not entered, so that no file is read twice and no loop has
//! an end to find.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::{FieldPath, Origin, Position, Problem, Refusal};
use crate::limits::{CONFIG_FILE_BYTES_MAX, CONFIG_FILES_MAX, CONFIG_FOLDER_DEPTH_MAX};

/// A text with its place.
pub(super) struct Source {
    /// The name in messages.
    pub(super) file: Arc<str>,
    /// Relative paths resolve from here.
    pub(super) folder: PathBuf,
    pub(super) text: String,
}

impl Source {
    pub(super) fn new(file: Arc<str>, folder: &Path, text: String) -> Self {
        Self { file, folder: absolute(folder), text }
    }
}

/// A folder made absolute, so that a later change of the working directory moves nothing.
pub(super) fn absolute(folder: &Path) -> PathBuf {
    // An empty path is no path to the system, but the working directory to `join`.
    let absolute = std::path::absolute(Path::new(".").join(folder));
    absolute.unwrap_or_else(|_| folder.to_owned())
}

/// Reads a file or a folder.
///
/// # Errors
/// Every file that cannot be read, or the one problem with the path itself.
pub(super) fn read(path: &Path) -> Result<Vec<Source>, Vec<Problem>> {
    let metadata = fs::metadata(path)
        .map_err(|error| vec![unreadable(path, &error, "check the path of the configuration")])?;
    let mut files = Vec::new();
    if metadata.is_dir() {
        find_indexes(path, 0, &mut files).map_err(|problem| vec![problem])?;
        if files.is_empty() {
            let message = format!(
                "the folder has no {INDEX}, and neither has any folder below; add one, or name a \
                 file"
            );
            return Err(vec![Problem::new(Origin::of_file(&name(path)), message)]);
        }
    } else {
        files.push(path.to_owned());
    }
    let (mut sources, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        match read_file(&file) {
            Ok(source) => sources.push(source),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(sources) } else { Err(problems) }
}

fn find_indexes(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Problem> {
    let over = |limit, what: String| {
        Problem::new(Origin::of_file(&name(folder)), Refusal::over_limit(limit, what))
    };
    if depth > CONFIG_FOLDER_DEPTH_MAX {
        return Err(over(
            CONFIG_FOLDER_DEPTH_MAX,
            format!(
                "the folder lies more than {CONFIG_FOLDER_DEPTH_MAX} levels deep; flatten the tree"
            ),
        ));
    }
    let failed = |error| unreadable(folder, &error, "check its permissions");
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if entry.file_name() == OsStr::new(INDEX) {
            files.push(entry.path());
        } else if !is_hidden && entry.file_type().map_err(failed)?.is_dir() {
            folders.push(entry.path());
        }
    }
    if files.len() > CONFIG_FILES_MAX {
        return Err(over(
            CONFIG_FILES_MAX,
            format!(
                "the configuration has more than {CONFIG_FILES_MAX} {INDEX} files; merge some of them"
            ),
        ));
    }
    folders.sort();
    folders.iter().try_for_each(|folder| find_indexes(folder, depth + 1, files))
}

fn read_file(path: &Path) -> Result<Source, Problem> {
    let file = name(path);
    let failed = |error| unreadable(path, &error, "check the file and its permissions");
    let mut bytes = Vec::new();
    let mut limited = fs::File::open(path).map_err(failed)?.take(CONFIG_FILE_BYTES_MAX as u64 + 1);
    limited.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > CONFIG_FILE_BYTES_MAX {
        let message =
            format!("the file has more than {CONFIG_FILE_BYTES_MAX} bytes; split it into a folder");
        return Err(Problem::new(
            Origin::of_file(&file),
            Refusal::over_limit(CONFIG_FILE_BYTES_MAX, message),
        ));
    }
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(&file, &error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(Source::new(file, folder, text))
}

fn not_utf8(file: &Arc<str>, error: &std::string::FromUtf8Error) -> Problem {
    let (valid, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
    let before = std::str::from_utf8(valid).expect("valid up to here");
    let position = Some(Position::of_byte(before));
    let origin = Origin { file: file.clone(), position, path: FieldPath::default() };
    let message = format!("the byte 0x{:02X} is not UTF-8; save the file as UTF-8", rest[0]);
    Problem::new(origin, message)
}

fn unreadable(path: &Path, error: &io::Error, remedy: &str) -> Problem {
    Problem::new(Origin::of_file(&name(path)), format!("can't be read: {error}; {remedy}"))
}

fn name(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

/// The file of a folder that holds its entries.
const INDEX: &str = "_index.yaml";
