//! A small file system of one's own, for a node whose disk is to become full: a `tmpfs` in a mount
//! namespace, which a process holds that does nothing else. It needs no privilege where users may
//! have namespaces, and none but root's elsewhere.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A mounted file system. It is gone with this.
pub struct SmallDisk {
    holder: Child,
    folder: PathBuf,
    /// Of the namespaces that whoever uses it enters.
    flags: &'static [&'static str],
}

impl SmallDisk {
    /// Mounts one at a folder, of so many bytes.
    ///
    /// # Errors
    /// Why that is not possible here.
    pub fn mount(folder: &Path, bytes: usize) -> Result<Self, String> {
        let mut reasons = Vec::new();
        // In a namespace of users first, which everybody may have; else as root.
        for (unshare, flags) in [("-Urm", &["-U", "-m"][..]), ("-m", &["-m"][..])] {
            match Self::try_mount(folder, bytes, unshare, flags) {
                Ok(disk) => return Ok(disk),
                Err(why) => reasons.push(format!("unshare {unshare}: {why}")),
            }
        }
        Err(reasons.join("; "))
    }

    fn try_mount(
        folder: &Path,
        bytes: usize,
        unshare: &str,
        flags: &'static [&'static str],
    ) -> Result<Self, String> {
        let script = "mount -t tmpfs -o size=\"$1\" none \"$2\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .args([unshare, "sh", "-c", script, "sh", &bytes.to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        let output = holder.stdout.take().expect("it is piped");
        let read = BufReader::new(output).read_line(&mut line);
        if read.is_err() || line.trim() != "mounted" {
            let output = holder.wait_with_output().map_err(|error| error.to_string())?;
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let disk = Self { holder, folder: folder.to_owned(), flags };
        let entered = disk.command("true").output().map_err(|error| error.to_string())?;
        if !entered.status.success() {
            return Err(String::from_utf8_lossy(&entered.stderr).trim().to_owned());
        }
        fs::read_dir(disk.seen_from_here()).map_err(|error| error.to_string())?;
        Ok(disk)
    }

    /// A program that sees it. It replaces the one that enters the namespace: its id is the child's.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string()]).args(self.flags);
        if self.flags.contains(&"-U") {
            command.arg("--preserve-credentials");
        }
        command.arg("--").arg(program);
        command
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.seen_from_here().join("ballast")).unwrap();
        // In ever smaller pieces, to the last byte.
        for bytes in [1 << 16, 1 << 12, 1 << 8, 1] {
            while file.write_all(&vec![0; bytes]).is_ok() {}
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        fs::remove_file(self.seen_from_here().join("ballast")).unwrap();
    }

    fn seen_from_here(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.strip_prefix("/").expect("it is absolute"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
