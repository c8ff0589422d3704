//! Asterisk as a process: its folder, its start, its end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::{cpu, signal};
use super::ari;
use super::light;
use super::manager;
use super::ports::Ports;
use super::root::{Root, USUAL};

/// Starts Asterisk and ends it when its standard input closes, which also happens when the test is killed; unless it was
/// told to keep it, the folder goes too. The pid is its own child's, so it cannot be another program's.
const WATCHDOG: &str = r#"
folder=$1; shift
"$@" </dev/null >>"$folder/console.log" 2>&1 &
pid=$!
echo $pid
keep=
while read -r word; do keep=$word; done
kill -KILL $pid 2>/dev/null
wait $pid 2>/dev/null
[ -n "$keep" ] || rm -rf "$folder"
"#;

/// A running Asterisk, ended when dropped.
pub struct Asterisk {
    folder: TempDir,
    ports: Ports,
    run: Option<Run>,
    root: &'static Root,
    /// What is put before its command line: a program that watches it.
    under: Vec<PathBuf>,
}

/// What a gateway has beyond the sample configuration.
pub struct Setup<'a> {
    /// Version: [`USUAL`] or [`super::root::OLDEST`].
    pub version: u8,
    /// Extensions of the test's own, behind those of context `mgw`.
    pub extensions: &'a str,
    /// Configuration files: name and text.
    pub files: &'a [(&'a str, &'a str)],
    /// A folder with modules (`*.so`) and their documentation (`*-en_US.xml`) to have beside Asterisk's own.
    pub modules: Option<&'a Path>,
    /// What is put before the command line, such as valgrind with its options.
    pub under: &'a [&'a str],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup { version: USUAL, extensions: "", files: &[], modules: None, under: &[] }
    }
}

struct Run {
    watchdog: Child,
    stdin: ChildStdin,
    pid: u32,
}

/// A link for everything in a folder that is not in the other one already.
fn links(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let name = entry.expect("entry").file_name();
        if !to.join(&name).exists() {
            symlink(from.join(&name), to.join(&name)).expect("link");
        }
    }
}

/// Asterisk's data folder as links into the root. Debian's link `sounds/en` is made when the package is configured and
/// leads out of the root, so it is made here.
fn link_data(root: &Root, folder: &Path) {
    let data = root.path.join("usr/share/asterisk");
    fs::create_dir_all(folder.join("sounds")).expect("data folder");
    for entry in fs::read_dir(&data).expect("the root's data") {
        let name = entry.expect("entry").file_name();
        if name != "sounds" {
            symlink(data.join(&name), folder.join(&name)).expect("link");
        }
    }
    symlink(data.join("sounds/en_US_f_Allison"), folder.join("sounds/en")).expect("link");
}

/// A sample configuration file of `examples/asterisk`.
fn sample(name: &str) -> String {
    let path = format!("{}/examples/asterisk/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Replaces a text that must be there: a sample that has changed must not be tested as it was.
fn put(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "a sample file no longer has {from:?}");
    text.replace(from, to)
}

impl Asterisk {
    /// The Asterisk of an operator: the sample configuration with other ports.
    pub fn gateway() -> Asterisk {
        Asterisk::gateway_with("")
    }

    /// The same with extensions of the test's own in context `mgw`. `9000` (an echo) is always there.
    pub fn gateway_with(extensions: &str) -> Asterisk {
        Asterisk::gateway_of(&Setup { extensions, ..Setup::default() })
    }

    /// The same with all that a test may want.
    pub fn gateway_of(setup: &Setup) -> Asterisk {
        let extensions = setup.extensions;
        let mut asterisk = Asterisk::prepare_of(Root::of(setup.version));
        asterisk.under = setup.under.iter().map(PathBuf::from).collect();
        if let Some(modules) = setup.modules {
            asterisk.add_modules(modules);
        }
        let ports = &asterisk.ports;
        let rtp = ports.rtp();
        let pjsip = put(&sample("pjsip.conf"), "127.0.0.1:5060", &format!("127.0.0.1:{}", ports.sip()));
        let http = put(&sample("http.conf"), "bindport = 8088", &format!("bindport = {}", ports.http()));
        let first = put(&sample("rtp.conf"), "rtpstart = 10000", &format!("rtpstart = {}", rtp.start));
        let rtp = put(&first, "rtpend = 16999", &format!("rtpend = {}", rtp.end - 1));
        let audiosocket = format!("127.0.0.1:{}", ports.audiosocket());
        let dialplan = put(&sample("extensions.conf"), "127.0.0.1:9092", &audiosocket);
        let dialplan = format!("{dialplan}\n[mgw]\nexten => 9000,1,Answer()\n same => n,Echo()\n{extensions}\n");
        for (name, text) in [
            ("pjsip.conf", pjsip + light::ENDPOINT),
            ("http.conf", http),
            ("rtp.conf", rtp),
            ("extensions.conf", dialplan),
            ("ari.conf", sample("ari.conf")),
            ("modules.conf", sample("modules.conf")),
        ] {
            asterisk.configure(name, &text);
        }
        let manager = format!("[general]\nenabled = yes\nbindaddr = 127.0.0.1\nport = {}\n", asterisk.ports.manager());
        asterisk.configure("manager.conf", &(manager + manager::CONF));
        for (name, text) in setup.files {
            asterisk.configure(name, text);
        }
        asterisk.start();
        let begin = Instant::now();
        while asterisk.ari("GET", "/asterisk/info", "").0 != 200 {
            assert!(begin.elapsed() < Duration::from_secs(60), "ARI never answers\n{}", asterisk.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        asterisk
    }

    /// A folder with the files that have nothing to do with calls.
    pub(super) fn prepare() -> Asterisk {
        Asterisk::prepare_of(Root::of(USUAL))
    }

    fn prepare_of(root: &'static Root) -> Asterisk {
        // Not below target/: the path of a Unix socket may have 107 bytes.
        let folder = tempfile::Builder::new().prefix("mgw-asterisk-").tempdir().expect("temporary folder");
        for name in ["etc", "run", "log", "spool", "db", "cache", "lib", "sound"] {
            fs::create_dir(folder.path().join(name)).expect("folder");
        }
        link_data(root, &folder.path().join("data"));
        let asterisk = Asterisk { folder, ports: Ports::claim(), run: None, root, under: Vec::new() };
        asterisk.configure("asterisk.conf", &asterisk.directories(&root.modules));
        asterisk.configure("logger.conf", "[general]\n[logfiles]\nfull => notice,warning,error,verbose(4),dtmf\n");
        asterisk
    }

    fn directories(&self, modules: &Path) -> String {
        let (f, r, modules) = (self.folder.path().display(), self.root.path.display(), modules.display());
        format!(
            "[directories]\nastcachedir => {f}/cache\nastetcdir => {f}/etc\n\
             astmoddir => {modules}\nastvarlibdir => {f}/lib\nastdbdir => {f}/db\n\
             astkeydir => {f}/lib\nastdatadir => {f}/data\n\
             astagidir => {f}/data/agi-bin\nastspooldir => {f}/spool\nastrundir => {f}/run\n\
             astlogdir => {f}/log\nastsbindir => {r}/usr/sbin\n"
        )
    }

    /// Modules of the test's own beside Asterisk's, which are links; documentation is where `make install` puts it.
    fn add_modules(&self, from: &Path) {
        let (own, documentation) = (self.folder.path().join("modules"), self.folder.path().join("data/documentation"));
        fs::create_dir(&own).expect("folder");
        links(&self.root.modules, &own);
        fs::remove_file(&documentation).expect("a link");
        fs::create_dir_all(documentation.join("thirdparty")).expect("folder");
        links(&self.root.path.join("usr/share/asterisk/documentation"), &documentation);
        for entry in fs::read_dir(from).expect("the modules") {
            let path = entry.expect("entry").path();
            let name = path.file_name().expect("name");
            match path.extension().and_then(|e| e.to_str()) {
                Some("so") => symlink(&path, own.join(name)).expect("link"),
                Some("xml") => symlink(&path, documentation.join("thirdparty").join(name)).expect("link"),
                _ => {}
            }
        }
        self.configure("asterisk.conf", &self.directories(&own));
    }

    /// Writes a configuration file.
    pub fn configure(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join("etc").join(name), text).expect("configuration file");
    }

    /// Makes a configuration file one that is there and that nobody can read, not even root: a link to itself.
    pub fn make_unreadable(&self, name: &str) {
        let path = self.folder.path().join("etc").join(name);
        fs::remove_file(&path).expect("configuration file");
        std::os::unix::fs::symlink(name, &path).expect("link");
    }

    /// Makes it one that can be written again.
    pub fn remove_configuration(&self, name: &str) {
        fs::remove_file(self.folder.path().join("etc").join(name)).expect("configuration file");
    }

    /// Starts the process and waits until it has fully booted.
    pub(super) fn start(&mut self) {
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(self.folder.path())
            .args(self.command(&["-f", "-n"]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let stdin = watchdog.stdin.take().expect("stdin");
        let mut line = String::new();
        BufReader::new(watchdog.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
        let pid = line.trim().parse().unwrap_or_else(|_| panic!("no pid in {line:?}"));
        self.run = Some(Run { watchdog, stdin, pid });
        let begin = Instant::now();
        while !self.rx("core waitfullybooted").contains("fully booted") {
            // Under valgrind it takes its time.
            assert!(begin.elapsed() < Duration::from_secs(180), "Asterisk does not start\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The command line that runs the root's Asterisk with this folder's configuration.
    fn command(&self, more: &[&str]) -> Vec<PathBuf> {
        // Only the one that serves is watched, not those that ask it.
        let mut line = if more.contains(&"-f") { self.under.clone() } else { Vec::new() };
        line.extend(self.root.command());
        line.push("-C".into());
        line.push(self.folder.path().join("etc/asterisk.conf"));
        line.extend(more.iter().map(PathBuf::from));
        line
    }

    /// What a command of Asterisk's console answers.
    pub fn rx(&self, command: &str) -> String {
        let line = self.command(&["-rx", command]);
        let output = Command::new(&line[0]).args(&line[1..]).stdin(Stdio::null()).output().expect("asterisk -rx");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A request to ARI with the samples' user: status (0 when nobody answers) and body.
    pub fn ari(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        ari::request(self.ports.http(), method, path, body)
    }

    /// Port of ARI.
    pub fn http_port(&self) -> u16 {
        self.ports.http()
    }

    pub fn sip_port(&self) -> u16 {
        self.ports.sip()
    }

    /// Does an action of the manager interface and returns its response.
    pub fn action(&self, name: &str, fields: &[(&str, &str)]) -> manager::Reply {
        manager::action(self.manager_port(), name, fields)
    }

    /// Listens to the events of the manager interface from now on.
    pub fn listen(&self) -> manager::Listener {
        manager::Listener::start(self.manager_port())
    }

    pub(super) fn manager_port(&self) -> u16 {
        self.ports.manager()
    }

    /// Where extensions 7000, 7001, 7100 and 7101 look for the shim's AudioSocket server.
    pub fn audiosocket_port(&self) -> u16 {
        self.ports.audiosocket()
    }

    pub(super) fn rtp_ports(&self) -> Range<u16> {
        self.ports.rtp()
    }

    /// 400 ports for the sockets of what is tested; no Asterisk of any test takes one of them.
    pub fn shim_ports(&self) -> Range<u16> {
        self.ports.shim()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn pid(&self) -> u32 {
        self.run.as_ref().expect("it runs").pid
    }

    /// Everything it has logged: warnings, errors, what the dialplan executed, key presses.
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("console.log") + &read("log/full")
    }

    /// Processor time used so far, user and system.
    pub fn cpu(&self) -> Duration {
        cpu(self.pid())
    }

    /// Kills it as a crash would and starts it again on the same ports.
    pub fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// Kills it as a crash would; [`Asterisk::restart`] brings it back.
    pub fn kill(&mut self) {
        if let Some(mut run) = self.run.take() {
            // The folder stays: the next start uses it.
            run.stdin.write_all(b"keep\n").expect("the watchdog reads");
            end(run);
        }
    }

    /// Stops the process without ending it: it holds its sockets and answers nothing, until the guard is dropped.
    pub fn stopped(&self) -> Stopped {
        let pid = self.pid();
        signal("STOP", pid);
        Stopped { pid }
    }

    /// Channels and bridges that are there, one line each; empty when nothing was left behind.
    pub fn leftovers(&self) -> Vec<String> {
        let channels = self.rx("core show channels concise");
        let bridges = self.rx("bridge show all");
        // The first line of the second is its heading.
        let all = channels.lines().chain(bridges.lines().skip(1)).map(str::trim);
        all.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Waits until nothing is left; tells what is, otherwise.
    pub fn wait_empty(&self, limit: Duration) {
        let (begin, mut left) = (Instant::now(), self.leftovers());
        while !left.is_empty() {
            assert!(begin.elapsed() < limit, "{limit:?} later Asterisk still has\n{}", left.join("\n"));
            std::thread::sleep(Duration::from_millis(200));
            left = self.leftovers();
        }
    }

    /// What happens when the test is killed: the pipe to the watchdog closes, and nobody waits for it.
    pub fn abandon(mut self) -> (u32, PathBuf) {
        let run = self.run.take().expect("it runs");
        let folder = self.folder.path().to_owned();
        let (pid, mut watchdog) = (run.pid, run.watchdog);
        drop(run.stdin);
        let _ = watchdog.wait();
        (pid, folder)
    }
}

fn end(mut run: Run) {
    drop(run.stdin);
    let _ = run.watchdog.wait();
}

impl Drop for Asterisk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let noise = |line: &&str| line.contains("Remote UNIX connection") || line.contains("manager.c: Manager");
            let lines: Vec<&str> = log.lines().filter(|line| !noise(line)).collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("---- the end of the log of {}\n{tail}\n----", self.folder.path().display());
        }
        if let Some(run) = self.run.take() {
            end(run);
        }
    }
}

/// A stopped Asterisk, continued when dropped.
pub struct Stopped {
    pid: u32,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("CONT", self.pid);
    }
}
