//! Where configurations come from: files, trees of folders, entries of other programs beside ours,
//! and the examples of the reference page.
#![cfg(feature = "sql")]
#![allow(clippy::unwrap_used)]

use std::path::Path;

use plimsoll::error::{Error, ErrorKind};
use plimsoll::registry::{Config, EntryKind, LoadOptions};
use plimsoll::sql::SqliteFile;

/// What the bodies below start with, so that their first line is line 4.
const HEAD: &str = "version: \"1.0\"\nnamespace: app\nentries:\n";

fn parse(text: &str, options: LoadOptions) -> Result<Config, Error> {
    Config::parse(text, ".", "t.yaml", options)
}

#[track_caller]
fn assert_says(error: &Error, fragments: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Invalid);
    for fragment in fragments {
        let message = error.message();
        assert!(message.contains(fragment), "\n{message}\nwithout: {fragment}");
    }
}

#[test]
fn foreign_kinds_are_skipped_only_when_asked_for() {
    let text = format!(
        "{HEAD}  - {{name: 'get/{{id}}', kind: http.endpoint, method: GET, handler: [1]}}\n  - {{name: m, kind: store.memory}}\n"
    );
    let error = parse(&text, LoadOptions::default()).unwrap_err();
    assert_says(&error, &["\"http.endpoint\" is no kind of entry"]);
    let skip = || LoadOptions { skip_foreign_kinds: true, ..LoadOptions::default() };
    let config = parse(&text, skip()).unwrap();
    assert_eq!(config.entries().len(), 1);
    let [skipped] = config.skipped() else { panic!("one is skipped") };
    let told = (skipped.id(), skipped.kind(), skipped.location());
    assert_eq!(told, ("app:get/{id}", "http.endpoint", "t.yaml:4:5".to_owned()));

    let table = [
        ("  - {name: a, kind: store.kv.crdt}\n", "entries[0].namespace: the field is missing"),
        ("  - {name: a, kind: store.memory, typo: 1}\n", "entries[0].typo: the field is unknown"),
        ("  - {kind: http.service}\n", "entries[0].name: the field is missing"),
        (
            "  - {name: a, kind: http.service}\n  - {name: a, kind: store.memory}\n",
            "app:a is already defined",
        ),
        (
            "  - {name: d, kind: db.mysql}\n  - {name: s, kind: store.sql, database: app:d, table_name: t}\n",
            "entries[1].database: app:d is of the foreign kind db.mysql and was left out",
        ),
    ];
    for (body, expected) in table {
        let error = parse(&format!("{HEAD}{body}"), skip()).unwrap_err();
        assert_says(&error, &[expected]);
    }
}

fn load(path: &Path) -> Result<Config, Error> {
    Config::load(path, LoadOptions::default())
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.yaml");
    let error = load(&path).unwrap_err();
    assert_says(&error, &["app.yaml: can't be read: ", "check the path"]);

    let table: [(&[u8], &str); 4] = [
        (b"", "app.yaml: the file is empty"),
        (
            b"version: \"1.0\"\nnamespace: \xff\n",
            "app.yaml:2:12: the byte 0xFF is not UTF-8; save the file as UTF-8",
        ),
        (b"\xff\xfev\0e\0r\0", "app.yaml:1:1: the byte 0xFF is not UTF-8"),
        (&vec![b'#'; (4 << 20) + 1], "app.yaml: the file has more than 4194304 bytes; split it"),
    ];
    for (bytes, expected) in table {
        write(&path, bytes);
        let error = load(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_says(&error, &[expected]);
    }
}

#[test]
fn a_folder_is_read_with_the_folders_below() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let error = load(root).unwrap_err();
    assert_says(&error, &["the folder has no _index.yaml", "add one, or name a file"]);

    let index = |namespace: &str, name: &str| {
        format!(
            "version: \"1.0\"\nnamespace: {namespace}\nentries: [{{name: {name}, kind: store.memory}}]\n"
        )
    };
    write(&root.join("_index.yaml"), index("app", "root"));
    write(&root.join("b/_index.yaml"), index("app.b", "x"));
    write(&root.join("a/_index.yaml"), index("app", "a"));
    write(&root.join("a/deep/er/_index.yaml"), index("app.b", "y"));
    write(&root.join("a/other.yaml"), "not read");
    write(&root.join(".hidden/_index.yaml"), "not read");
    let config = load(root).unwrap();
    let ids: Vec<_> = config.entries().iter().map(|entry| entry.id().as_str()).collect();
    assert_eq!(ids, ["app:root", "app:a", "app.b:y", "app.b:x"], "parents first, then by name");

    let cluster = "{enabled: true, name: n1, raft: {data_dir: data}}";
    let with_cluster = |name| format!("{}cluster: {cluster}\n", index("app.c", name));
    write(&root.join("a/deep/_index.yaml"), with_cluster("c"));
    let data_dir = load(root).unwrap().cluster().unwrap().raft.data_dir.clone();
    assert_eq!(data_dir, root.join("a/deep/data"), "from the folder of the file that says it");
    write(&root.join("b/_index.yaml"), with_cluster("d"));
    let error = load(root).unwrap_err();
    let first = format!("the first stands at {}:4:10", root.join("a/deep/_index.yaml").display());
    let second = "b/_index.yaml:4:10: cluster: this is a second section cluster, ";
    assert_says(&error, &[second, &first, "remove one of them"]);
    write(&root.join("b/_index.yaml"), index("app.b", "x"));

    write(&root.join("c/_index.yaml"), index("app", "a"));
    write(&root.join("d/_index.yaml"), "entries: 5");
    let error = load(root).unwrap_err();
    let expected = [
        "app:a is already defined at ",
        "a/_index.yaml:3:11",
        "c/_index.yaml:3:11: entries[0]",
        "d/_index.yaml:1:1: version",
    ];
    assert_says(&error, &expected);
}

#[test]
fn a_tree_of_folders_has_limits() {
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().to_owned();
    for _ in 0..33 {
        path.push("a");
    }
    std::fs::create_dir_all(&path).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert_says(&error, &["more than 32 levels deep; flatten the tree"]);

    let folder = tempfile::tempdir().unwrap();
    for i in 0..=1_000 {
        write(&folder.path().join(format!("{i}/_index.yaml")), "");
    }
    let error = load(folder.path()).unwrap_err();
    assert_says(&error, &["more than 1000 _index.yaml files; merge some"]);
}

/// Wherever the process goes later, a path means what it meant when it was read.
#[test]
fn relative_paths_become_absolute() {
    let body = "  - {name: db, kind: db.sql.sqlite, file: data/x.db}\n";
    let here = std::env::current_dir().unwrap();
    for (folder, expected) in [
        ("", here.join("data/x.db")),
        (".", here.join("data/x.db")),
        ("sub", here.join("sub/data/x.db")),
        ("/etc", "/etc/data/x.db".into()),
    ] {
        let text = format!("{HEAD}{body}");
        let config = Config::parse(&text, folder, "t.yaml", LoadOptions::default()).unwrap();
        let EntryKind::SqliteDatabase(database) = config.entries()[0].kind() else { panic!() };
        assert_eq!(database.file, SqliteFile::Path(expected), "{folder:?}");
    }
}

#[cfg(unix)]
#[test]
fn links_to_files_are_followed_and_links_to_folders_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let text = "version: \"1.0\"\nnamespace: app\nentries: [{name: a, kind: store.memory}]\n";
    write(&root.join("data/real.yaml"), text);
    std::os::unix::fs::symlink(root.join("data/real.yaml"), root.join("_index.yaml")).unwrap();
    std::os::unix::fs::symlink(root, root.join("loop")).unwrap();
    assert_eq!(load(root).unwrap().entries().len(), 1);
}

/// Every block of the reference page that is a whole configuration is read; the others are
/// entries, and are read as such.
#[test]
fn the_examples_of_the_reference_page_are_right() {
    let page = include_str!("../docs/configuration.md");
    let blocks: Vec<_> =
        page.split("```yaml\n").skip(1).map(|b| b.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 5, "the blocks were found");
    let database = "  - {name: database, kind: db.sql.sqlite, file: ':memory:'}\n";
    for block in blocks {
        let text = match block.contains("version:") {
            true => block.to_owned(),
            false => format!("{HEAD}{database}{block}"),
        };
        parse(&text, LoadOptions::default()).unwrap_or_else(|error| panic!("{block}\n{error}"));
    }
    let builtin = include_str!("../src/registry/builtin.yaml");
    assert!(page.contains(builtin), "the page shows the built-in configuration as it is");
}

/// The error that the page shows is the one that its file gives.
#[test]
fn the_error_of_the_reference_page_is_real() {
    let page = include_str!("../docs/configuration.md");
    let mut blocks = page.split("```text\n").skip(1).map(|b| b.split("```").next().unwrap());
    let (shown, text) = (blocks.next().unwrap(), blocks.next().unwrap());
    let error = Config::parse(text, ".", "app.yaml", LoadOptions::default()).unwrap_err();
    assert_eq!(format!("{error}\n"), shown);
}
