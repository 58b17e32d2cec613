//! A PostgreSQL server of the tests' own: its own data folder, a free port of the loopback address,
//! ended by its process id even if the tests are killed.
//!
//! A shell stands between: it starts and stops the server on request, and at the end of its input,
//! which comes however the tests end, it stops it and removes the folder. The server refuses to run
//! as root; then it runs as `postgres` or `nobody`.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use plimsoll::sql::{Password, PostgresOptions, SslMode};
use tokio_postgres::{Client, NoTls};

/// A server.
pub struct Server {
    folder: PathBuf,
    port: u16,
    shell: Mutex<Shell>,
}

struct Shell {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// The server that the tests of a binary share; none, and a word on why, where PostgreSQL is not
/// installed.
pub fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[])).as_ref()
}

/// Says that tests are skipped, even if they pass: what `eprintln` says is not shown then.
#[expect(clippy::explicit_write, reason = "see above")]
pub fn skipped(reason: &str) {
    writeln!(std::io::stderr(), "skipped: {reason}").unwrap();
}

/// A name that no other test of the process uses.
pub fn unique_name() -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    format!("t{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

impl Server {
    /// Starts a server with some settings; none, and a word on why, where PostgreSQL is not
    /// installed.
    pub fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let Some(binaries) = binaries() else {
            skipped("no PostgreSQL server is installed (Debian: postgresql)");
            return None;
        };
        let user = unprivileged_user();
        let folder = tempfile::Builder::new().prefix("plimsoll-pg-").tempdir().unwrap().keep();
        if let Some((_, uid, gid)) = user {
            std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut shell = match &user {
            None => Command::new("sh"),
            Some((name, ..)) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", name, "--regid", name, "--clear-groups", "sh"]);
                command
            }
        };
        shell.args(["-c", SCRIPT, "sh"]).arg(binaries).arg(&folder).arg(port.to_string());
        for (name, value) in settings {
            shell.args(["-c", &format!("{name}={value}")]);
        }
        shell.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = shell.spawn().expect("a shell");
        let requests = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let shell = Mutex::new(Shell { process, requests, answers });
        let server = Self { folder, port, shell };
        server.request("init");
        server.resume();
        Some(server)
    }

    /// Stops the server: its connections are closed.
    pub fn stop(&self) {
        self.request("stop");
    }

    /// Starts a server that was stopped, and waits until it serves.
    pub fn resume(&self) {
        self.request("start");
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let is_up = TcpStream::connect(("127.0.0.1", self.port)).is_ok()
                && self.try_run(SUPERUSER, "SELECT 1").is_ok();
            if is_up {
                return;
            }
            assert!(Instant::now() < deadline, "the server does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where the server keeps its files; the tests put certificates there.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A role of its own with a schema of its own, which its statements mean; answers its name.
    pub fn new_role(&self) -> String {
        let role = unique_name();
        self.run(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; CREATE SCHEMA {role} AUTHORIZATION {role}"
        ));
        role
    }

    /// How a role reaches the server.
    pub fn options(&self, role: &str) -> PostgresOptions {
        PostgresOptions {
            port: self.port,
            password: Some(Password::new(PASSWORD)),
            ssl_mode: SslMode::Disable,
            ..PostgresOptions::new("127.0.0.1", DATABASE, role)
        }
    }

    /// Runs statements as the superuser.
    pub fn run(&self, sql: &str) {
        self.run_as(SUPERUSER, sql);
    }

    /// Runs statements as a role.
    pub fn run_as(&self, role: &str, sql: &str) {
        self.try_run(role, sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The first column of the first row, as text.
    pub fn value(&self, role: &str, sql: &str) -> Option<String> {
        let rows = self.try_run(role, sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        rows.into_iter().next().and_then(|row| row.into_iter().next().flatten())
    }

    /// The rows of the last statements, as text.
    pub fn try_run(
        &self,
        role: &str,
        sql: &str,
    ) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
        // On a thread of its own, because the caller may be inside a runtime.
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let client = self.connect(role).await?;
                let mut rows = Vec::new();
                for message in client.simple_query(sql).await? {
                    if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                        let columns = 0..row.len();
                        rows.push(columns.map(|i| row.get(i).map(str::to_owned)).collect());
                    }
                }
                Ok(rows)
            })
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    /// A connection of another program, for as long as the client lives.
    pub async fn connect(&self, role: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.dbname(DATABASE).user(role).port(self.port).password(PASSWORD).host("127.0.0.1");
        let (client, driver) = config.connect(NoTls).await?;
        tokio::spawn(driver);
        Ok(client)
    }

    /// What the server has logged last.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Has the shell run a command, as the user of the server.
    pub fn request(&self, command: &str) {
        let mut shell = self.shell.lock().unwrap();
        writeln!(shell.requests, "{command}").unwrap();
        let mut answer = String::new();
        shell.answers.read_line(&mut answer).unwrap();
        drop(shell);
        assert_eq!(answer.trim(), "done", "{command}:\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let shell = self.shell.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = writeln!(shell.requests, "end");
        let _ = shell.process.wait();
    }
}

/// The folder of the server's programs: the newest that is installed.
fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .map(|(version, path)| (version, path.join("bin")))
        .filter(|(_, path)| path.join("postgres").exists())
        .collect();
    found.sort();
    if let Some((_, path)) = found.pop() {
        return Some(path);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|path| path.join("postgres").exists())
}

/// Whom the server runs as, if the tests run as root: name, user, group.
fn unprivileged_user() -> Option<(&'static str, u32, u32)> {
    let own = Command::new("id").arg("-u").output().ok()?;
    if own.stdout.trim_ascii() != b"0" {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    ["postgres", "nobody"].into_iter().find_map(|name| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(str::parse);
        Some((name, numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}

const LOG_LINES_SHOWN: usize = 20;

/// The role that may do everything.
pub const SUPERUSER: &str = "admin";

/// The password of every role.
pub const PASSWORD: &str = "correct horse";

/// The database of the tests.
pub const DATABASE: &str = "postgres";

/// $1 folder of the programs, $2 folder of the server, $3 port, further settings.
const SCRIPT: &str = r#"
bin=$1 folder=$2 port=$3
shift 3
pid=
stop() { [ -n "$pid" ] && kill "-$1" "$pid" && wait "$pid"; pid=; }
trap '' INT
while read -r command; do
    case $command in
    init)
        printf '%s' 'correct horse' >"$folder/password"
        "$bin/initdb" -D "$folder/data" -U admin --pwfile="$folder/password" -E UTF8 \
            --locale=C.UTF-8 --locale-provider=icu --icu-locale=en-US \
            --auth-local=scram-sha-256 --auth-host=scram-sha-256 --no-sync >"$folder/log" 2>&1 ||
            "$bin/initdb" -D "$folder/data" -U admin --pwfile="$folder/password" -E UTF8 \
                --locale=C --auth-local=scram-sha-256 --auth-host=scram-sha-256 \
                --no-sync >>"$folder/log" 2>&1 || { echo failed; continue; } ;;
    start)
        "$bin/postgres" -D "$folder/data" -k "$folder" -h 127.0.0.1 -p "$port" \
            -c shared_buffers=32MB "$@" >>"$folder/log" 2>&1 </dev/null &
        pid=$! ;;
    stop) stop INT ;;
    end) break ;;
    *) eval "$command" >>"$folder/log" 2>&1 || { echo failed; continue; } ;;
    esac
    echo done
done
stop INT
rm -rf "$folder"
"#;
