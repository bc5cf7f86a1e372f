//! The real binary as a process of its own: started, listened to, stopped, killed.

use std::fmt::{Debug, Display};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use server::log_lines::Line;
use shared::ids::Version;

/// How long a process may take to say what is expected of it. Generous: the tests share two cores.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A running `grapevine`. Killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    said: Arc<Said>,
}

#[derive(Default)]
struct Said {
    speech: Mutex<Speech>,
    more: Condvar,
}

#[derive(Default)]
struct Speech {
    lines: Vec<String>,
    /// Whether no more can come.
    ended: bool,
}

impl Process {
    /// Starts `grapevine` with these words.
    pub(crate) fn start(words: &[&str]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_grapevine")).args(words), words.join(" "))
    }

    /// The same by another command, which becomes `grapevine`.
    pub(crate) fn start_by(mut command: Command, words: &[&str]) -> Self {
        Self::spawn(command.args(words), words.join(" "))
    }

    /// Starts what a shell is told to.
    pub(crate) fn shell(command: &str) -> Self {
        Self::spawn(Command::new("sh").args(["-c", command]), command.to_owned())
    }

    fn spawn(command: &mut Command, name: String) -> Self {
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Said::default());
        let (heard, stderr) = (Arc::clone(&said), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                heard.speech.lock().unwrap().lines.push(line);
                heard.more.notify_all();
            }
            heard.speech.lock().unwrap().ended = true;
            heard.more.notify_all();
        });
        Self { name, child, said }
    }

    /// Waits until it has said a line with this text, and gives the first such line.
    pub(crate) fn says(&self, text: impl Display) -> String {
        self.says_all(&[text.to_string()]).pop().unwrap()
    }

    /// Waits until it has said each of these.
    pub(crate) fn says_all(&self, texts: &[impl AsRef<str>]) -> Vec<String> {
        let speech = self.hear(PATIENCE, |lines| {
            let texts = texts.iter().map(AsRef::as_ref);
            let missing: Vec<&str> = texts.filter(|text| !lines.iter().any(|line| line.contains(text))).collect();
            (!missing.is_empty()).then_some(missing)
        });
        let first = |text: &str| speech.lines.iter().find(|line| line.contains(text)).cloned();
        texts.iter().filter_map(|text| first(text.as_ref())).collect()
    }

    /// Waits until it has said so many lines with this text.
    pub(crate) fn says_times(&self, text: impl Display, times: usize, limit: Duration) {
        let text = text.to_string();
        drop(self.hear(limit, |lines| {
            let said = lines.iter().filter(|line| line.contains(&text)).count();
            (said < times).then(|| (text.clone(), times))
        }));
    }

    /// Listens until nothing is missing, or nothing more can come.
    fn hear<T: Debug>(&self, limit: Duration, missing: impl Fn(&[String]) -> Option<T>) -> MutexGuard<'_, Speech> {
        let end = Instant::now() + limit;
        let mut speech = self.said.speech.lock().unwrap();
        while let Some(missing) = missing(&speech.lines) {
            let left = end.saturating_duration_since(Instant::now());
            let why = if speech.ended { "ended and" } else { "" };
            let said = || speech.lines.join("\n");
            assert!(
                !left.is_zero() && !speech.ended,
                "`{}` {why} didn't say {missing:?}; it said:\n{}",
                self.name,
                said()
            );
            speech = self.said.more.wait_timeout(speech, left).unwrap().0;
        }
        speech
    }

    /// How many sockets it has open.
    pub(crate) fn sockets(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let leads_to = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        leads_to.filter(|place| place.to_string_lossy().starts_with("socket:")).count()
    }

    /// How many lines have this text so far.
    pub(crate) fn count(&self, text: impl Display) -> usize {
        let text = text.to_string();
        self.said.speech.lock().unwrap().lines.iter().filter(|line| line.contains(&text)).count()
    }

    /// SIGSTOP: it hangs, its connections stay.
    pub(crate) fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, and waits until it has stopped by itself.
    pub(crate) fn terminate(self) -> ExitStatus {
        self.stop().0
    }

    /// The same, with all that it has said.
    pub(crate) fn stop(self) -> (ExitStatus, Vec<String>) {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ends(self) -> ExitStatus {
        self.end().0
    }

    fn end(mut self) -> (ExitStatus, Vec<String>) {
        let end = Instant::now() + PATIENCE;
        let mut speech = self.said.speech.lock().unwrap();
        while !speech.ended {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "`{}` doesn't stop; it said:\n{}", self.name, speech.lines.join("\n"));
            speech = self.said.more.wait_timeout(speech, left).unwrap().0;
        }
        let lines = speech.lines.clone();
        drop(speech);
        (self.child.wait().unwrap(), lines)
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already; what matters is that nothing of it is left.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a peer says that has a file's first version.
pub(crate) fn applied(file: &str) -> String {
    Line::Applied(&file.parse().unwrap(), Version(1)).to_string()
}

/// What the bridge says then.
pub(crate) fn forwarded(file: &str) -> String {
    Line::Forwarded(&file.parse().unwrap(), Version(1)).to_string()
}
