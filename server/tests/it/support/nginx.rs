//! A real nginx with a configuration of its own, one process, ended with the value.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::net::TcpStream;

use crate::support::app::eventually;

/// Debian's place, which isn't in everybody's PATH.
const BINARY: &str = "/usr/sbin/nginx";

pub(crate) struct Nginx {
    child: Child,
    dir: tempfile::TempDir,
}

impl Nginx {
    /// Serves what `http` (the inside of the `http` block) says, and waits until it listens on `port`.
    pub(crate) async fn start(http: &str, port: u16) -> Self {
        let dir = tempfile::Builder::new().prefix("grapevine-nginx").tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", path(kind)));
        let config = format!(
            "daemon off;\nmaster_process off;\npid {};\nevents {{}}\nhttp {{\naccess_log off;\n{}{http}}}\n",
            path("pid"),
            folders.concat()
        );
        std::fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let binary = if Path::new(BINARY).exists() { BINARY } else { "nginx" };
        let child = Command::new(binary)
            .args(["-p", &path(""), "-c", &path("nginx.conf"), "-e", &path("error.log")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.path().join("stderr")).unwrap())
            .spawn()
            .expect("nginx is installed (make test does it)");
        let nginx = Self { child, dir };
        eventually("nginx listens", async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        nginx
    }
}

impl Drop for Nginx {
    /// Shows what it had to say when a test failed.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        for log in ["stderr", "error.log"].into_iter().filter(|_| std::thread::panicking()) {
            println!("nginx, {log}:\n{}", std::fs::read_to_string(self.dir.path().join(log)).unwrap_or_default());
        }
    }
}
