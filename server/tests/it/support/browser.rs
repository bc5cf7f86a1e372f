//! Headless Chromium through its driver, both ended with the value.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use thirtyfour::error::WebDriverResult;
use thirtyfour::extensions::query::ElementQueryable;
use thirtyfour::{
    By, CapabilitiesHelper, ChromeCapabilities, ChromiumLikeCapabilities, DesiredCapabilities, WebDriver, WebElement,
};

use crate::support::ports::free_ports;
use crate::support::process::PATIENCE;

/// A browser window on one page.
pub(crate) struct Browser {
    driver: WebDriver,
    url: String,
    _process: Driver,
    _profile: tempfile::TempDir,
}

struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        // The browser ends with its driver; one that is gone already is fine.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Browser {
    /// A window that shows `url`.
    pub(crate) async fn open(url: &str) -> Self {
        let [port] = free_ports();
        let driver = Command::new("chromedriver")
            .args([format!("--port={port}"), "--allowed-ips=127.0.0.1".to_owned()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed (make test does it)");
        let process = Driver(driver);
        let profile = tempfile::tempdir().unwrap();
        let driver_url = format!("http://127.0.0.1:{port}");
        let driver = session(&driver_url, profile.path().to_str().unwrap()).await;
        driver.goto(url).await.unwrap();
        Self { driver, url: driver_url, _process: process, _profile: profile }
    }

    /// The first element with this `data-testid` whose text has `text`; waits for it.
    pub(crate) async fn sees(&self, testid: &str, text: &str) -> WebElement {
        let end = Instant::now() + PATIENCE;
        let selector = format!("[data-testid='{testid}']");
        loop {
            for element in self.driver.find_all(By::Css(selector.as_str())).await.unwrap() {
                // An element may be replaced while it is read.
                if element.text().await.is_ok_and(|found| found.contains(text)) {
                    return element;
                }
            }
            assert!(Instant::now() < end, "no {testid:?} with {text:?}; the page says:\n{}", self.text().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until so many elements match.
    pub(crate) async fn counts(&self, selector: &str, count: usize) -> Vec<WebElement> {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.driver.find_all(By::Css(selector)).await.unwrap();
            if found.len() == count {
                return found;
            }
            assert!(Instant::now() < end, "{} of {selector:?} instead of {count}:\n{}", found.len(), self.text().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The first element that matches; waits for it.
    pub(crate) async fn finds(&self, selector: &str) -> WebElement {
        let query = self.driver.query(By::Css(selector)).wait(PATIENCE, Duration::from_millis(100));
        query.first().await.unwrap_or_else(|error| panic!("no {selector:?}: {error}"))
    }

    /// Waits until the first element that matches has this attribute's value.
    pub(crate) async fn has(&self, selector: &str, attribute: &str, value: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = self.finds(selector).await.attr(attribute).await.ok().flatten();
            if now.as_deref() == Some(value) {
                return;
            }
            assert!(Instant::now() < end, "{attribute} of {selector:?} is {now:?} instead of {value:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What `body`, the body of an async function, returns in the page, as in its console.
    pub(crate) async fn runs(&self, body: &str) -> Result<serde_json::Value, String> {
        let script = format!(
            "const done = arguments[0];
             (async () => {{ {body} }})().then(value => done({{value}}), error => done({{error: String(error)}}));"
        );
        self.driver.set_script_timeout(PATIENCE).await.unwrap();
        let answer: Result<serde_json::Value, _> = self.driver.execute_async(script, []).await.unwrap().convert();
        let mut answer = answer.unwrap();
        match answer.get("error").and_then(serde_json::Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["value"].take()),
        }
    }

    /// Clicks the first element that matches; waits for it.
    pub(crate) async fn clicks(&self, selector: &str) {
        let end = Instant::now() + PATIENCE;
        // It may be replaced, or be covered for a moment.
        while let Err(error) = self.finds(selector).await.click().await {
            assert!(Instant::now() < end, "{selector:?} can't be clicked: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Chooses a file in the input that matches.
    pub(crate) async fn chooses(&self, selector: &str, file: &Path) {
        self.finds(selector).await.send_keys(file.to_str().unwrap()).await.unwrap();
    }

    /// Waits until `condition`, the body of an async function, gives true in the page.
    pub(crate) async fn is_so(&self, condition: &str) {
        let end = Instant::now() + PATIENCE;
        while self.runs(condition).await != Ok(json!(true)) {
            assert!(Instant::now() < end, "not so: {condition}; the page says:\n{}", self.text().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the element that matches has the focus.
    pub(crate) async fn has_focus(&self, selector: &str) {
        self.is_so(&format!("return document.activeElement.matches({})", json!(selector))).await;
    }

    /// Sends a command of the Chrome `DevTools` protocol.
    pub(crate) async fn commands(&self, command: &str, params: serde_json::Value) {
        let address = format!("{}/session/{}/goog/cdp/execute", self.url, self.driver.session_id());
        let body = json!({"cmd": command, "params": params});
        let answer = reqwest::Client::new().post(address).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{command}: {}", answer.text().await.unwrap());
    }

    /// Lets the page think that this is the user's choice: `light` or `dark`.
    pub(crate) async fn prefers(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.commands("Emulation.setEmulatedMedia", features).await;
    }

    /// Sends at most so many bytes a second; `None`: as many as it can.
    pub(crate) async fn sends_slowly(&self, bytes_a_second: Option<u32>) {
        let upload = bytes_a_second.map_or(-1, i64::from);
        let conditions = json!({"offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": upload});
        self.commands("Network.enable", json!({})).await;
        self.commands("Network.emulateNetworkConditions", conditions).await;
    }

    /// What axe-core finds wrong with the page as it is, each with where and why.
    pub(crate) async fn accessibility_faults(&self) -> Vec<String> {
        let axe = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe/node_modules/axe-core/axe.min.js");
        let source = fs::read_to_string(&axe).expect("axe-core is installed (scripts/test-setup.sh does it)");
        let run = "const result = await axe.run(document, { resultTypes: ['violations'] });
            return result.violations.flatMap(fault => fault.nodes.map(node =>
                `${fault.id}: ${node.html.slice(0, 200)} ${node.failureSummary}`));";
        let faults = self.runs(&format!("if (!globalThis.axe) {{ {source} }}\n{run}")).await.unwrap();
        serde_json::from_value(faults).unwrap()
    }

    /// What went wrong in the page, by the browser's own console.
    pub(crate) async fn console_errors(&self) -> Vec<String> {
        let address = format!("{}/session/{}/se/log", self.url, self.driver.session_id());
        let answer = reqwest::Client::new().post(address).json(&json!({"type": "browser"})).send().await.unwrap();
        let log: serde_json::Value = answer.json().await.unwrap();
        let entries = log["value"].as_array().unwrap().iter();
        entries.filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string()).collect()
    }

    async fn text(&self) -> String {
        match self.driver.find(By::Tag("body")).await {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        }
    }
}

async fn session(driver_url: &str, profile: &str) -> WebDriver {
    let end = Instant::now() + PATIENCE;
    loop {
        match WebDriver::new(driver_url, capabilities(profile).unwrap()).await {
            Ok(driver) => return driver,
            Err(error) => assert!(Instant::now() < end, "no browser: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn capabilities(profile: &str) -> WebDriverResult<ChromeCapabilities> {
    let mut wanted = DesiredCapabilities::chrome();
    for flag in [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,1600",
    ] {
        wanted.add_arg(flag)?;
    }
    wanted.add_arg(&format!("--user-data-dir={profile}"))?;
    wanted.set("goog:loggingPrefs", json!({"browser": "ALL"}))?;
    Ok(wanted)
}
