//! The project of a `luat.toml`: where the `KV` of the command line keeps its file.
//!
//! Of that file, which belongs to another program, one thing is read: `data_dir` in its section
//! `[routing]`. Whatever else it says is left to whom it is for.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::problem::Position;
use crate::error::{Error, Result};
use crate::limits::CONFIG_FILE_BYTES_MAX;

/// A folder with a `luat.toml`, or the one that stands for it where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LuatProject {
    data_dir: PathBuf,
}

impl LuatProject {
    /// The project that a folder belongs to: the nearest `luat.toml` in it or above it says where,
    /// else the folder itself is one without settings.
    ///
    /// # Errors
    /// `INVALID` with file, line and column if `luat.toml` can't be read, is no TOML, or its
    /// `routing.data_dir` is no path.
    pub fn find(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = std::path::absolute(folder.as_ref()).map_err(|error| {
            Error::invalid(format!("{} is no folder: {error}", folder.as_ref().display()))
        })?;
        for above in folder.ancestors() {
            let file = above.join(FILE_NAME);
            if let Some(text) = read(&file)? {
                let data_dir = parse(&text).map_err(|problem| problem.into_error(&file, &text))?;
                let data_dir = above.join(data_dir.unwrap_or_else(|| DATA_DIR.to_owned()));
                return Ok(Self { data_dir });
            }
        }
        Ok(Self { data_dir: folder.join(DATA_DIR) })
    }

    /// The folder of the project's data; absolute.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The file of its `KV`.
    #[must_use]
    pub fn kv_file(&self) -> PathBuf {
        self.data_dir.join("kv.db")
    }
}

/// The text of a file; none if there is none.
fn read(file: &Path) -> Result<Option<String>> {
    let unreadable = |error| {
        let remedy = "check its permissions, or remove it";
        Error::invalid(format!("{} can't be read: {error}; {remedy}", file.display()))
            .with_detail("file", file.display().to_string())
    };
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(error)),
    };
    let limit = CONFIG_FILE_BYTES_MAX;
    let mut bytes = Vec::new();
    opened.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > limit {
        return Err(Error::invalid(format!("{} has more than {limit} bytes", file.display()))
            .with_detail("limit", limit));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        let text = String::from_utf8_lossy(&bytes);
        let what = format!("the byte 0x{:02X} is not UTF-8; save the file as UTF-8", bytes[valid]);
        Problem { at: valid, what }.into_error(file, &text)
    })
}

/// `routing.data_dir`, if the text has it.
fn parse(text: &str) -> Result<Option<String>, Problem> {
    let table = DeTable::parse(text).map_err(|error| Problem {
        at: error.span().map_or(0, |span| span.start),
        what: format!("this is no TOML: {}", error.message()),
    })?;
    let Some(routing) = table.get_ref().get("routing") else {
        return Ok(None);
    };
    let DeValue::Table(fields) = routing.get_ref() else {
        let what = "routing must be a section: write [routing]".to_owned();
        return Err(Problem { at: routing.span().start, what });
    };
    let Some(data_dir) = fields.get("data_dir") else {
        return Ok(None);
    };
    match data_dir.get_ref() {
        DeValue::String(path) if !path.is_empty() && !path.contains('\0') => {
            Ok(Some(path.clone().into_owned()))
        }
        _ => {
            let what = format!("routing.data_dir must be a path, such as {DATA_DIR:?}");
            Err(Problem { at: data_dir.span().start, what })
        }
    }
}

/// What is wrong, and at which byte.
struct Problem {
    at: usize,
    what: String,
}

impl Problem {
    fn into_error(self, file: &Path, text: &str) -> Error {
        let before = text.get(..self.at).unwrap_or(text);
        let Position { line, column } = Position::of_byte(before);
        let file = file.display().to_string();
        Error::invalid(format!("{file}:{line}:{column}: {}", self.what))
            .with_detail("file", file)
            .with_detail("line", line)
            .with_detail("column", column)
    }
}

const FILE_NAME: &str = "luat.toml";
const DATA_DIR: &str = ".luat/data";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_is_read_and_the_rest_left_alone() {
        for (text, expected) in [
            ("", None),
            ("title = 1\n[server]\nport = 80\ndata_dir = 7", None),
            ("[routing]\nroutes = 'src'", None),
            ("[routing]\ndata_dir = \"data\"", Some("data")),
            (
                "[other]\nx = [1, {y = 1979-05-27}]\n[routing]\ndata_dir = '/var/kv'",
                Some("/var/kv"),
            ),
            ("routing = {data_dir = \"a b\"}", Some("a b")),
            ("routing.data_dir = '.luat/data'", Some(".luat/data")),
        ] {
            let parsed = parse(text).map_err(|problem| problem.what);
            assert_eq!(parsed, Ok(expected.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        for (text, place, what) in [
            ("[routing]\ndata_dir = ", "luat.toml:2:", "no TOML"),
            ("a = 1\n\n[routing\n", "luat.toml:3:", "no TOML"),
            ("a = 1\na = 2", "luat.toml:2:", "no TOML"),
            ("[routing]\n\ndata_dir = 5", "luat.toml:3:12", "data_dir must be a path"),
            ("[routing]\ndata_dir = ''", "luat.toml:2:12", "data_dir must be a path"),
            ("\nrouting = 1", "luat.toml:2:11", "routing must be a section"),
        ] {
            let problem = parse(text).expect_err(text);
            let error = problem.into_error(Path::new("luat.toml"), text);
            assert!(error.message().starts_with(place), "{text:?}: {error}");
            assert!(error.message().contains(what), "{text:?}: {error}");
            assert!(error.detail("line").is_some());
        }
    }
}
